"""What one does before anything runs: ``assess`` what there is, ``cost`` what is planned; and the page both print.

Promises: works offline on other people's files, executes and fetches nothing, starts without importing the platform.
May not know: cells, engines, settings; a plan is words and numbers.
"""
