"""From an uploaded file to segments and manifests: probe, encode, package, serve; channels' playlists; demo content.

Promises: foreign bytes are read by tools in a sandbox only; every step is a pure plan plus a resumable job whose
output is the same bytes however often it was killed; what a manifest says is what the packager wrote.
May not know: cells, stores, hub, settings. The studio hands out the jobs; bootstrap composes.
"""
