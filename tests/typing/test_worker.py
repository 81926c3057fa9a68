"""What a type checker says of calls of tasks: mypy is asked, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
from beanrow import App, Retry, provided

app = App()

@app.task(tube="emails", retry=Retry(attempts=3))
def send(user_id: int, *, lang: str = "en") -> float: return 1.0

@app.task
async def fetch(url: str) -> bytes: return b""

def connect() -> list[int]: return []

@app.task(tube="db")
def store(n: int, *, db: list[int] = provided(connect)) -> None: db.append(n)

store.put(1)
store(1, db=[])
store(1, db="x")                             # error: [arg-type]
reveal_type(send(1))                         # reveal: "float"
reveal_type(fetch("x"))                      # reveal: "Coroutine[Any, Any, bytes]"
reveal_type(send.put(1, lang="de"))          # reveal: "int"
reveal_type(send.options(delay=3).put(1))    # reveal: "int"
reveal_type(send.put_many([(1,)]))           # reveal: "list[int]"
reveal_type(send.submit(1))                  # reveal: "beanrow.worker.replies.Reply[float]"
reveal_type(fetch.submit("x"))               # reveal: "beanrow.worker.replies.Reply[bytes]"
send.submit("x")                             # error: [arg-type]
send.put("x")                                # error: [arg-type]
send("x")                                    # error: [arg-type]
send.put(1, lang=2)                          # error: [arg-type]
send.put()                                   # error: [call-arg]
send.put(1, "de")                            # error: [call-arg]
send.options(delay=3).put("x")               # error: [arg-type]
send.options(dealy=3)                        # error: [call-arg]
fetch.put(b"x")                              # error: [arg-type]
app.task(tubes="x")                          # error: [call-overload]
"""


def test_a_task_is_typed_as_its_function(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    told = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--hide-error-context", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    lines = PROGRAM.splitlines()
    expected = {
        number: found[1]
        for number, line in enumerate(lines, 1)
        if (found := re.search(r"# (?:reveal|error): (.*)$", line))
    }
    for number, words in expected.items():
        said = " ".join(re.findall(rf"program.py:{number}: (.*)", told))
        assert words in said.replace("typing.", ""), f"{lines[number - 1]}\n{said or told}"
    unexpected = set(map(int, re.findall(r"program.py:(\d+): error", told))) - expected.keys()
    assert not unexpected, told
