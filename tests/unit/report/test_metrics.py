"""Names of others in the labels of the metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from migrator.apply.outcome import Applied
from migrator.report import metrics
from migrator.watch.impact import Impact


def test_a_name_of_others_is_a_label_and_no_line() -> None:
    name = '1_"\\\n\r\x1b\udcff}'
    done = Applied(version=1, file=name, description="", duration_ms=1, impact=Impact((), ()))
    text = metrics.text(metrics.Run(0, 1.0, 1.0, (done,), 1, 0))
    assert text.encode().decode().replace("\n", "").isprintable()
    [family] = [
        family
        for family in text_string_to_metric_families(text)
        if family.name == "migrator_migration_duration_seconds"
    ]
    [sample] = family.samples
    assert sample.labels["file"] == '1_"\\<U+000A><U+000D><U+001B><U+DCFF>}'
