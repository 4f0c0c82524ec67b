"""The CDK application: what runs on AWS, one module a concern.

Promises: synthesis needs neither account nor network; every name is made from the platform file, so that regions refer
to each other without exports; each role may touch its own cell's things only; each exception from a policy check has
its reason beside it. May not know: the command line. ``aws_cdk`` is treated as untyped: its own types cost mypy a
minute, and its runtime checks every call.
"""

from eisbach.deploy.aws.node import prepare_node

prepare_node()  # importing aws_cdk, as every module here does, starts node
