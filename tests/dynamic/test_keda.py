"""``lab dynamic --export keda``: a ScaledObject whose values are the measured ones."""

import yaml

from dynamic.keda import scaled_object


def test_a_scaled_object_has_the_fields_of_keda_and_the_measured_values() -> None:
    text = scaled_object(rate=9.8, start_seconds=0.4, least=1, most=50)
    found = yaml.safe_load(text)
    assert (found["apiVersion"], found["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = found["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 50)
    modes = {trigger["metadata"]["mode"]: trigger["metadata"] for trigger in spec["triggers"]}
    assert modes["MessageRate"]["value"] == "7"  # 0.8 x 9.8
    assert modes["QueueLength"]["value"] == "7"  # 9.8 x (2 - 0.1 - 0.4) / 2
    assert all(isinstance(value, str) for trigger in modes.values() for value in trigger.values())
    assert modes["MessageRate"]["protocol"] == "http"  # KEDA has no rate over AMQP
    assert "9.8 messages per second" in text
    assert "0.4 s after the wish" in text


def test_a_worker_slower_than_the_objective_still_gets_whole_values() -> None:
    found = yaml.safe_load(scaled_object(rate=0.3, start_seconds=5.0, least=0, most=3))
    assert {trigger["metadata"]["value"] for trigger in found["spec"]["triggers"]} == {"1"}
    assert (
        found["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"][
            "stabilizationWindowSeconds"
        ]
        == 100
    )
