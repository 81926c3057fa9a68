"""The dashboard: a web page that shows Beanstalk servers, and lets people act on them.

Laws:
- It is a process and a client of its own: a server under it needs no more than its protocol.
- The first answer holds what is to be seen, and every button works without script.
- No other host is asked for anything, and nothing that a queue holds is ever run: a name or a body
  is text wherever it stands.
- No change without the right to it, without a token of the very session, and without its lines in
  the audit log.
"""
