"""The command line, one thin file a verb: results to stdout, talk to stderr, exit code 2 for usage."""
