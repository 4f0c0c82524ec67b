"""What a person is told: alarms of cells, spokes and doors to the pager, one dashboard a region, one budget in all.

An alarm names a promise that is breaking, not a resource that is busy. Missing data never rings by itself.
"""

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions

from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.stacks.cells import CellHome
from eisbach.deploy.aws.stacks.functions import Made
from eisbach.deploy.aws.stacks.hub import SpokeQueue

__all__ = ["add_budget", "add_dashboard", "cell_alarms", "failures_alarm", "spoke_alarms"]

_MINUTE = cdk.Duration.minutes(1)


def cell_alarms(stack: Any, home: CellHome, pager: Any) -> list[Any]:
    """Throttled tables, slow or refused calls; the ones that end a canary."""
    title = home.cell.name.title().replace("-", "")
    slow = _alarm(
        stack, f"{title}Slow", home.function.alias.metric_duration(period=_MINUTE, statistic="p99"), 1_500,
        f"cell {home.cell.name}: p99 above 1.5 s, the edge gives up", minutes=3,
    )  # fmt: skip
    refused = _alarm(
        stack, f"{title}Refused", home.function.alias.metric_throttles(period=_MINUTE), 10,
        f"cell {home.cell.name}: its reserved concurrency is used up", minutes=2,
    )  # fmt: skip
    throttled = _alarm(
        stack,
        f"{title}Throttled",
        cloudwatch.Metric(
            namespace="AWS/DynamoDB",
            metric_name="ThrottledRequests",
            dimensions_map={"TableName": home.log_name, "Operation": "PutItem"},
            statistic="Sum",
            period=_MINUTE,
        ),
        10,
        f"cell {home.cell.name}: its log throttles",
        minutes=2,
    )
    return _told(pager, [slow, refused, throttled, home.function.errors])


def spoke_alarms(stack: Any, queue: SpokeQueue, made: Made, pager: Any) -> list[Any]:
    """A spoke that is behind, and one with dead letters."""
    title = queue.spoke.title().replace("-", "")
    oldest = queue.queue.metric_approximate_age_of_oldest_message(period=_MINUTE, statistic="Maximum")
    behind = _alarm(
        stack, f"{title}Behind", oldest, 900, f"spoke {queue.spoke}: 15 minutes behind; nobody else is", minutes=5
    )
    dead = _alarm(
        stack,
        f"{title}DeadLetters",
        queue.dead.metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="Maximum"),
        1,
        f"spoke {queue.spoke}: dead letters wait for a person",
        minutes=1,
    )
    return _told(pager, [behind, dead, made.errors])


def failures_alarm(made: Made, pager: Any) -> None:
    """Of what a schedule calls: claims are not swept (35 days to act), or a log is not archived (7 days)."""
    _told(pager, [made.errors])


def _alarm(stack: Any, id_: str, metric: Any, threshold: float, words: str, *, minutes: int) -> Any:
    return cloudwatch.Alarm(
        stack,
        id_,
        metric=metric,
        threshold=threshold,
        evaluation_periods=minutes,
        datapoints_to_alarm=minutes,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        alarm_description=words,
    )


def _told(pager: Any, alarms: list[Any]) -> list[Any]:
    for alarm in alarms:
        alarm.add_alarm_action(actions.SnsAction(pager))
        alarm.add_ok_action(actions.SnsAction(pager))
    return alarms


def add_dashboard(stack: Any, platform: Platform, cells: Sequence[CellHome], queues: Sequence[SpokeQueue]) -> None:
    """A row a cell, a row of all spokes."""
    board = cloudwatch.Dashboard(stack, "Board", dashboard_name=f"{platform.name}-{stack.region}")
    for home in cells:
        alias = home.function.alias
        board.add_widgets(
            cloudwatch.GraphWidget(
                title=f"{home.cell.name}: calls, errors, refused",
                left=[alias.metric_invocations(), alias.metric_errors(), alias.metric_throttles()],
            ),
            cloudwatch.GraphWidget(
                title=f"{home.cell.name}: p50, p99",
                left=[alias.metric_duration(statistic="p50"), alias.metric_duration(statistic="p99")],
            ),
            cloudwatch.GraphWidget(
                title=f"{home.cell.name}: units",
                left=[
                    home.state.metric_consumed_write_capacity_units(),
                    home.state.metric_consumed_read_capacity_units(),
                ],
            ),
        )
    board.add_widgets(
        cloudwatch.GraphWidget(
            title="spokes: oldest event",
            left=[q.queue.metric_approximate_age_of_oldest_message(label=q.spoke) for q in queues],
        ),
        cloudwatch.GraphWidget(
            title="spokes: dead letters",
            left=[q.dead.metric_approximate_number_of_messages_visible(label=q.spoke) for q in queues],
        ),
    )


def add_budget(stack: Any, platform: Platform) -> None:
    """Mail at 80 % of what was planned, and when the forecast passes it."""
    watch = platform.watch
    mail = budgets.CfnBudget.SubscriberProperty(address=watch.mail, subscription_type="EMAIL")
    budgets.CfnBudget(
        stack,
        "Budget",
        budget=budgets.CfnBudget.BudgetDataProperty(
            budget_name=f"{platform.name}-month",
            budget_type="COST",
            time_unit="MONTHLY",
            budget_limit=budgets.CfnBudget.SpendProperty(amount=watch.budget_usd, unit="USD"),
        ),
        notifications_with_subscribers=[
            budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    comparison_operator="GREATER_THAN",
                    notification_type=kind,
                    threshold=share,
                    threshold_type="PERCENTAGE",
                ),
                subscribers=[mail],
            )
            for kind, share in (("ACTUAL", 80), ("FORECASTED", 100))
        ],
    )
