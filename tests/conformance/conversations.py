"""What every server of the protocol does, as conversations; ``script.py`` tells how to read them."""

from __future__ import annotations

CONVERSATIONS = {
    "a job from put to delete": """
        A> put 5 0 60 5 | hello  =  INSERTED $job
        A> stats-job $job  =  {id: $job, tube: T1, state: ready, pri: 5, age: 0, delay: 0, ttr: 60}
        A> stats-job $job  =  {time-left: 0, reserves: 0, timeouts: 0, releases: 0, buries: 0}
        A> reserve  =  RESERVED $job 5 | hello
        A> stats-job $job  =  {state: reserved, time-left: 59, reserves: 1, kicks: 0}
        A> delete $job  =  DELETED
        A> delete $job  =  NOT_FOUND
        A> stats-job $job  =  NOT_FOUND
        A> peek $job  =  NOT_FOUND
    """,
    "a ttr of 0 is 1": """
        A> put 5 0 0 1 | x  =  INSERTED $job
        A> stats-job $job  =  {ttr: 1}
        A> delete $job  =  DELETED
    """,
    "jobs leave by priority, then in the order they came": """
        A> put 5 0 60 1 | a  =  INSERTED $a
        A> put 4294967295 0 60 1 | b  =  INSERTED $b
        A> put 0 0 60 1 | c  =  INSERTED $c
        A> put 5 0 60 1 | d  =  INSERTED $d
        A> reserve  =  RESERVED $c 1 | c
        A> reserve  =  RESERVED $a 1 | a
        A> reserve  =  RESERVED $d 1 | d
        A> reserve  =  RESERVED $b 1 | b
        A> reserve-with-timeout 0  =  TIMED_OUT
        A closes
        B> reserve  =  RESERVED $c 1 | c
        B> reserve  =  RESERVED $a 1 | a
    """,
    "the best of several tubes leaves first": """
        A> watch T2  =  WATCHING 2
        A> watch T3  =  WATCHING 3
        A> put 7 0 60 1 | a  =  INSERTED $a
        A> use T2  =  USING T2
        A> put 6 0 60 1 | b  =  INSERTED $b
        A> use T3  =  USING T3
        A> put 8 0 60 1 | c  =  INSERTED $c
        A> reserve  =  RESERVED $b 1 | b
        A> reserve  =  RESERVED $a 1 | a
        A> reserve-with-timeout 5  =  RESERVED $c 1 | c
        A> reserve-with-timeout 0  =  TIMED_OUT
    """,
    "whoever waits in several tubes gets what comes to any": """
        A> watch T2  =  WATCHING 2
        A> watch T3  =  WATCHING 3
        A> reserve
        B> use T3  =  USING T3
        B> put 5 0 60 1 | x  =  INSERTED $x
        A<  RESERVED $x 1 | x
        A> delete $x  =  DELETED
        A> reserve-with-timeout 60
        B> use T1  =  USING T1
        B> put 5 0 60 1 | y  =  INSERTED $y
        A<  RESERVED $y 1 | y
    """,
    "those who wait are served in the order they came": """
        A> reserve
        B> reserve-with-timeout 100
        C> put 5 0 60 1 | x  =  INSERTED $x
        A<  RESERVED $x 1 | x
        C> stats-tube T1  =  {current-waiting: 1, current-jobs-reserved: 1, current-watching: 3}
        C> put 5 0 60 1 | y  =  INSERTED $y
        B<  RESERVED $y 1 | y
        C> stats-tube T1  =  {current-waiting: 0, current-jobs-reserved: 2}
    """,
    "a job goes back with its connection": """
        A> put 5 0 60 1 | x  =  INSERTED $x
        A> reserve  =  RESERVED $x 1 | x
        B> reserve
        A closes
        B<  RESERVED $x 1 | x
        B> stats-job $x  =  {reserves: 2, releases: 0, timeouts: 0}
    """,
    "what waits goes with its connection": """
        A> reserve
        A closes
        B> put 5 0 60 1 | x  =  INSERTED $x
        B> reserve-with-timeout 9  =  RESERVED $x 1 | x
        B> stats-tube T1  =  {current-waiting: 0}
    """,
    "a job is its holder's alone": """
        A> put 5 0 60 1 | x  =  INSERTED $x
        A> reserve  =  RESERVED $x 1 | x
        B> delete $x  =  NOT_FOUND
        B> release $x 1 0  =  NOT_FOUND
        B> bury $x 1  =  NOT_FOUND
        B> touch $x  =  NOT_FOUND
        B> kick-job $x  =  NOT_FOUND
        B> reserve-job $x  =  NOT_FOUND
        B> peek $x  =  FOUND $x 1 | x
        A> touch $x  =  TOUCHED
        A> release $x 9 0  =  RELEASED
        A> touch $x  =  NOT_FOUND
        A> release $x 1 0  =  NOT_FOUND
        B> stats-job $x  =  {state: ready, pri: 9, releases: 1}
        B> delete $x  =  DELETED
    """,
    "a release with a delay": """
        A> put 5 0 60 1 | x  =  INSERTED $x
        A> reserve  =  RESERVED $x 1 | x
        A> release $x 3 100  =  RELEASED
        A> stats-job $x  =  {state: delayed, pri: 3, delay: 100, time-left: 99, releases: 1}
        A> reserve-with-timeout 0  =  TIMED_OUT
        A> peek-delayed  =  FOUND $x 1 | x
        A> kick-job $x  =  KICKED
        A> reserve  =  RESERVED $x 1 | x
        A> stats-job $x  =  {kicks: 1, reserves: 2}
    """,
    "reserve-job takes a job out of turn, whatever its state": """
        A> put 5 100 60 1 | d  =  INSERTED $delayed
        A> put 0 0 60 1 | r  =  INSERTED $first
        A> put 5 0 60 1 | r  =  INSERTED $ready
        A> reserve-job $delayed  =  RESERVED $delayed 1 | d
        A> reserve-job $ready  =  RESERVED $ready 1 | r
        A> bury $ready 7  =  BURIED
        B> reserve-job $ready  =  RESERVED $ready 1 | r
        B> stats-job $ready  =  {state: reserved, pri: 7, buries: 1, reserves: 2}
        B> reserve-job 4611686018427387904  =  NOT_FOUND
        B> stats-tube T1  =  {current-jobs-ready: 1, current-jobs-reserved: 2, current-jobs-buried: 0}
        B> stats-tube T1  =  {current-jobs-delayed: 0, current-jobs-urgent: 1}
    """,
    "kick takes buried jobs before delayed ones, in their order": """
        A> put 5 100 60 1 | d  =  INSERTED $d
        A> put 5 90 60 1 | e  =  INSERTED $e
        A> put 9 0 60 1 | a  =  INSERTED $a
        A> put 8 0 60 1 | b  =  INSERTED $b
        A> reserve-job $a  =  RESERVED $a 1 | a
        A> bury $a 9  =  BURIED
        A> reserve-job $b  =  RESERVED $b 1 | b
        A> bury $b 8  =  BURIED
        A> peek-buried  =  FOUND $a 1 | a
        A> peek-delayed  =  FOUND $e 1 | e
        A> peek-ready  =  NOT_FOUND
        A> kick 1  =  KICKED 1
        A> peek-ready  =  FOUND $a 1 | a
        A> kick 10  =  KICKED 1
        A> kick 0  =  KICKED 0
        A> kick 1  =  KICKED 1
        A> stats-job $e  =  {state: ready, kicks: 1}
        A> stats-job $d  =  {state: delayed, kicks: 0}
        A> kick 4294967295  =  KICKED 1
        A> kick 1  =  KICKED 0
    """,
    "a kicked job goes to whoever waits": """
        A> put 5 0 60 1 | x  =  INSERTED $x
        A> reserve  =  RESERVED $x 1 | x
        A> bury $x 1  =  BURIED
        B> reserve
        A> kick-job $x  =  KICKED
        B<  RESERVED $x 1 | x
        A> kick-job $x  =  NOT_FOUND
    """,
    "peeks say nothing where there is nothing": """
        A> peek-ready  =  NOT_FOUND
        A> peek-delayed  =  NOT_FOUND
        A> peek-buried  =  NOT_FOUND
        A> peek 18446744073709551615  =  NOT_FOUND
        A> delete 0  =  NOT_FOUND
    """,
    "all that a tube counts": """
        A> put 1023 0 60 1 | a  =  INSERTED $a
        A> put 1024 0 60 1 | b  =  INSERTED $b
        A> put 0 100 60 1 | c  =  INSERTED $c
        A> put 0 0 60 1 | d  =  INSERTED $d
        A> stats-tube T1  =  {name: T1, current-jobs-urgent: 2, current-jobs-ready: 3}
        A> stats-tube T1  =  {current-jobs-reserved: 0, current-jobs-delayed: 1, total-jobs: 4}
        A> reserve  =  RESERVED $d 1 | d
        A> bury $d 0  =  BURIED
        A> reserve  =  RESERVED $a 1 | a
        A> delete $a  =  DELETED
        A> delete $c  =  DELETED
        A> stats-tube T1  =  {current-jobs-urgent: 0, current-jobs-ready: 1, current-jobs-buried: 1}
        A> stats-tube T1  =  {current-using: 1, current-watching: 1, cmd-delete: 2, total-jobs: 4}
        A> stats-tube T1  =  {cmd-pause-tube: 0, pause: 0, pause-time-left: 0, current-waiting: 0}
    """,
    "tubes come and go with what is in them and who refers to them": """
        A> stats-tube T2  =  NOT_FOUND
        A> pause-tube T2 10  =  NOT_FOUND
        A> use T2  =  USING T2
        A> stats-tube T2  =  {current-using: 1, total-jobs: 0}
        A> put 5 0 60 1 | x  =  INSERTED $x
        A> use T1  =  USING T1
        A> list-tubes  =  [default, T1, T2]
        A> stats-tube T2  =  {current-using: 0, total-jobs: 1}
        A> delete $x  =  DELETED
        A> stats-tube T2  =  NOT_FOUND
        A> use T2  =  USING T2
        A> stats-tube T2  =  {total-jobs: 0, cmd-delete: 0}
        A> watch T3  =  WATCHING 2
        A> watch T3  =  WATCHING 2
        A> list-tubes-watched  =  [T1, T3]
        A> ignore T3  =  WATCHING 1
        A> ignore T3  =  WATCHING 1
        A> stats-tube T3  =  NOT_FOUND
        A> ignore T1  =  NOT_IGNORED
        A> list-tube-used  =  USING T2
    """,
    "a paused tube keeps its jobs": """
        A> put 5 0 60 1 | x  =  INSERTED $x
        A> pause-tube T1 100  =  PAUSED
        A> stats-tube T1  =  {pause: 100, pause-time-left: 99, cmd-pause-tube: 1}
        A> reserve-with-timeout 0  =  TIMED_OUT
        A> peek-ready  =  FOUND $x 1 | x
        B> reserve
        A> pause-tube T1 0  =  PAUSED
        B<  RESERVED $x 1 | x
        A> stats-tube T1  =  {pause: 0, pause-time-left: 0, cmd-pause-tube: 2}
    """,
    "a half-close ends a wait, and what was asked is answered": """
        A> reserve
        A half-closes
        A<  TIMED_OUT
        A is closed
        B> put 5 0 60 1 | x  =  INSERTED $x
        B> reserve  =  RESERVED $x 1 | x
    """,
    "lines that are no command": """
        A> put  =  UNKNOWN_COMMAND
        A> put x 0 0 1  =  BAD_FORMAT
        A> delete x  =  BAD_FORMAT
        A> use -x  =  BAD_FORMAT
        A> kick x  =  BAD_FORMAT
        A> release 1 1  =  BAD_FORMAT
        A> nothing  =  UNKNOWN_COMMAND
        A> put 0 0 60 1 | xxx  =  EXPECTED_CRLF
        A<  UNKNOWN_COMMAND
    """,
    "a body may be empty": """
        A> put 5 0 60 0 |  =  INSERTED $x
        A> reserve  =  RESERVED $x 0 |
        A> bury $x 5  =  BURIED
        A> peek-buried  =  FOUND $x 0 |
    """,
    "quit ends a connection, and its jobs are ready again": """
        A> put 5 0 60 1 | x  =  INSERTED $x
        A> reserve  =  RESERVED $x 1 | x
        A quits
        B> reserve-with-timeout 5  =  RESERVED $x 1 | x
    """,
}  # fmt: skip

TIMED = {
    "a delay ends": """
        A> put 5 1 60 1 | x  =  INSERTED $x
        A> stats-job $x  =  {state: delayed, delay: 1}
        A> reserve-with-timeout 0  =  TIMED_OUT
        A> reserve-with-timeout 5  =  RESERVED $x 1 | x
    """,
    "a delayed job goes to whoever waits elsewhere": """
        A> watch T2  =  WATCHING 2
        A> reserve
        B> use T2  =  USING T2
        B> put 5 1 60 1 | x  =  INSERTED $x
        A<  RESERVED $x 1 | x
    """,
    "a ttr ends": """
        A> put 5 0 1 1 | x  =  INSERTED $x
        A> reserve  =  RESERVED $x 1 | x
        B> reserve-with-timeout 5  =  RESERVED $x 1 | x
        B> stats-job $x  =  {timeouts: 1, reserves: 2}
        A> delete $x  =  NOT_FOUND
        A> touch $x  =  NOT_FOUND
        B> delete $x  =  DELETED
    """,
    "a touch begins a ttr anew": """
        A> put 5 0 2 1 | x  =  INSERTED $x
        A> reserve  =  RESERVED $x 1 | x
        wait 1.2
        A> touch $x  =  TOUCHED
        wait 1.2
        A> stats-job $x  =  {state: reserved, timeouts: 0}
        A> delete $x  =  DELETED
    """,
    "a holder is told of its deadline": """
        A> put 5 0 2 1 | x  =  INSERTED $x
        A> reserve  =  RESERVED $x 1 | x
        A> reserve  =  DEADLINE_SOON
        A> reserve-with-timeout 0  =  DEADLINE_SOON
        A> release $x 5 0  =  RELEASED
        A> reserve  =  RESERVED $x 1 | x
    """,
    "a pause ends": """
        A> put 5 0 60 1 | x  =  INSERTED $x
        A> pause-tube T1 1  =  PAUSED
        A> reserve-with-timeout 0  =  TIMED_OUT
        A> reserve-with-timeout 9  =  RESERVED $x 1 | x
        A> stats-tube T1  =  {pause: 0, cmd-pause-tube: 1}
    """,
    "a wait ends": """
        A> reserve-with-timeout 1
        B> stats-tube T1  =  {current-waiting: 1}
        A<  TIMED_OUT
        B> stats-tube T1  =  {current-waiting: 0}
    """,
}  # fmt: skip
"""These take a second or two each."""
