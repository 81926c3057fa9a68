"""The conformance suite: what a beanstalk server does, as cases to be played to any server.

Laws:
- The cases are text (``cases/*.txt``), for people to read and for any program to play; each names
  the sentence of protocol.txt or the function of prot.c that says so.
- Nothing here uses the rest of beanrow: a server of ours is judged by somebody else's reading.
- What is known and meant has a name (``differences.txt``); everything else is a difference.
"""
