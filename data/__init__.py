"""The data files that are installed with the course, as `coursekit.datasets`."""
