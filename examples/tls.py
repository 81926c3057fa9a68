"""A client over TLS: it trusts a server by its CA, and shows a certificate of its own.

python -m examples.tls --server 'beanstalks://queue.example:11400?ca=ca.pem&cert=me.pem&key=me.key'
The address may come from BEANSTALKD_URL: then no program needs to know of TLS. In front of a
server that speaks none, stunnel or any proxy for TLS does.
"""

import argparse
import ssl

from beanrow import Client


def strict_context(ca: str) -> ssl.SSLContext:
    """Settings that an address cannot tell: here, nothing older than TLS 1.3."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def main() -> None:
    parser = argparse.ArgumentParser(description="Put, reserve and delete a job over TLS.")
    parser.add_argument("--server", help="beanstalks://HOST:PORT?ca=FILE; else BEANSTALKD_URL")
    parser.add_argument("--strict", metavar="CA", help="TLS 1.3 only; the address names no files")
    arguments = parser.parse_args()
    context = strict_context(arguments.strict) if arguments.strict else None
    with Client(arguments.server, tls=context) as client:
        client.watch("tls")
        job_id = client.put("over an encrypted connection", tube="tls")
        job = client.reserve_job(job_id)
        client.delete(job)
        print(f"{job.text}: job {job.id} of beanstalk {client.stats().version}")


if __name__ == "__main__":
    main()
