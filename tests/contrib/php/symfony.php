<?php
// Symfony Messenger's own transport on one Beanstalk server: php symfony.php HOST PORT put | take

namespace App\Message;

use Symfony\Component\Messenger\Bridge\Beanstalkd\Transport\BeanstalkdTransport;
use Symfony\Component\Messenger\Bridge\Beanstalkd\Transport\Connection;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Transport\Serialization\Serializer;

require_once '/usr/share/php/Symfony/Component/Messenger/Bridge/Beanstalkd/autoload.php';
require_once '/usr/share/php/Symfony/Component/Messenger/autoload.php';
require_once '/usr/share/php/Symfony/Component/Serializer/autoload.php';
require_once '/usr/share/php/Symfony/Component/PropertyAccess/autoload.php';

class SendWelcome
{
    public function __construct(public int $user_id, public string $lang = 'en')
    {
    }
}

[, $host, $port, $what] = $argv;
$connection = Connection::fromDsn("beanstalkd://$host:$port?tube_name=messages");
$transport = new BeanstalkdTransport($connection, new Serializer());
if ($what === 'put') {
    $transport->send(new Envelope(new SendWelcome(42, 'de')));
} else {
    foreach ($transport->get() as $envelope) {
        echo get_class($envelope->getMessage()), ' ', json_encode($envelope->getMessage()), "\n";
        $transport->ack($envelope);
    }
}
