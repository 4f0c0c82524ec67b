"""What a planned platform would cost on AWS, as ranges that can be defended line by line.

Promises: money is Decimal and never negative; every line names its formula, quantity, price, source and confidence;
what has no price is listed, never counted as zero; equal inputs give equal answers; no network but ``refresh``.
May not know: the platform. It imports ``plan.page`` and the kernel's errors, nothing else of Eisbach, and starts fast.
"""
