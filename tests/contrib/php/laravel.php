<?php
// Laravel's own queue on one Beanstalk server: php laravel.php HOST PORT put | put-object | take

namespace App\Jobs;

use Illuminate\Container\Container;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\BeanstalkdQueue;
use Pheanstalk\Pheanstalk;

require_once '/usr/share/php/Illuminate/Queue/autoload.php';
require_once '/usr/share/php/Pheanstalk/autoload.php';

class SendWelcome implements ShouldQueue
{
    public function __construct(public int $user_id = 0)
    {
    }

    public function fire($job, array $data): void
    {
        echo json_encode(['fired' => $data, 'attempts' => $job->attempts(), 'name' => $job->getName()]), "\n";
        $job->delete();
    }
}

[, $host, $port, $what] = $argv;
$queue = new BeanstalkdQueue(Pheanstalk::create($host, (int) $port), 'default', 60);
$queue->setContainer(new Container());
$queue->setConnectionName('beanstalkd');
if ($what === 'put') {
    $queue->push('App\Jobs\SendWelcome@fire', ['user_id' => 42, 'lang' => 'de'], 'emails');
} elseif ($what === 'put-object') {
    $queue->push(new SendWelcome(42), '', 'emails');
} else {
    $queue->pop('emails')->fire();
}
