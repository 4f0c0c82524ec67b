"""The thin doors of a region - edge, media origin, front - and the agent that keeps their configuration true.

``rules`` decides what happens to a call, as one pure function; ``nginx_*`` write it down for a real nginx, which does
the work: no lookup, no business rule and no proxy of our own. May not know cells, engines or settings.
"""
