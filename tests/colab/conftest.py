"""Prints how long the setup cell took on every machine."""


def pytest_terminal_summary(terminalreporter):
    properties = [
        (report.nodeid, value)
        for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
        for name, value in report.user_properties
        if name == "setup_seconds"
    ]
    if properties:
        terminalreporter.section("seconds of the setup cell")
        for test, seconds in properties:
            terminalreporter.write_line(f"{seconds:7.1f}  {test.split('[')[-1].rstrip(']')}")
