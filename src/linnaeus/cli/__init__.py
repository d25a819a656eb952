"""The command line: parse, call one stage, format what it returns."""
