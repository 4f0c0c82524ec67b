"""The engines on AWS: the event log on SNS and SQS, the store on DynamoDB.

Rehearsed against the emulated regions of ``eisbach.testing.aws``, never run on AWS. May not know: other engines, the
hub, the domain.
"""
