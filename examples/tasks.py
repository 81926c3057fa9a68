"""Functions as tasks: mails that are sent again when they fail, and how many wait, every hour.

python -m examples.tasks 42 43                        puts a welcome for each user
python -m beanrow.worker examples.tasks:app           runs what was put, in ten threads
"""

import argparse
import smtplib

from beanrow import App, Retry, provided

app = App()  # BEANSTALKD_URL, else localhost:11300


def connect() -> dict[int, str]:
    """Stand for a database: made once in each process of a worker."""
    return {user_id: f"user{user_id}@example.org" for user_id in range(100)}


@app.task(tube="welcome-mails", retry=Retry(5, delay=10, on=OSError), dead_letters="dead-mails")
def send_welcome(user_id: int, *, users: dict[int, str] = provided(connect)) -> str:
    address = users[user_id]  # KeyError: not sent again, but a dead letter at once
    print(f"welcome, {address}", flush=True)
    return address


@app.task(tube="reminders", retry=Retry.exponential(8, on=smtplib.SMTPException))
async def remind(user_id: int) -> None:
    print(f"do not forget, user {user_id}", flush=True)


@app.every("0 * * * *", tz="Europe/Berlin")
@app.task
def tell_waiting() -> None:
    stats = app.client.stats_tube(send_welcome.tube)
    print(f"{stats.current_jobs_ready} welcomes wait", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Put a welcome, and a reminder for later.")
    parser.add_argument("users", nargs="+", type=int, metavar="USER")
    users = parser.parse_args().users
    send_welcome.put_many((user_id,) for user_id in users)
    for user_id in users:
        remind.options(delay=3600).put(user_id)
    app.close()


if __name__ == "__main__":
    main()
