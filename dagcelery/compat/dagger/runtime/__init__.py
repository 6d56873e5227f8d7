"""`dagger.runtime`: running DAGs and tasks in this process, from Python and from the command line."""
