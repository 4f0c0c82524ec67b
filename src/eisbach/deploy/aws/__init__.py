"""On AWS: stacks, handlers, burst weights, the proof. Nothing here has ever been run on AWS; see ``docs/aws.md``.

Promises: what can be rehearsed without an account is; a vendor's error leaves as one clear sentence.
May not know: the command line. Needs the extra ``[deploy]``.
"""
