package kubernetes

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Why a challenger cannot answer is why its pod is not ready.
func TestAPodSaysWhichVersionCannotAnswer(t *testing.T) {
	url := "file://" + t.TempDir()
	e := New(Options{})
	ts := taskState{Place: Place{Store: url}, Name: "deployments-api-1", UID: "u"}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "a"}}
	if got := e.faults(t.Context(), ts, p); got != "" {
		t.Errorf("a pod that has stored nothing says %q", got)
	}
	s, err := e.store(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte(`{"serial": 1, "versions": {"late v1": {"requests": 3}, "late v2": {"fault": "read the exported model: it is damaged"}}}`)
	if err := s.PutNote(t.Context(), "runs/deployments-api-1/u/observed/a", b); err != nil {
		t.Fatal(err)
	}
	if got := e.faults(t.Context(), ts, p); got != "; late v2 cannot answer: read the exported model: it is damaged" {
		t.Errorf("it says %q", got)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// What pods observe is added up, also what pods did that are gone. A route is in effect once all
// ready pods have it.
func TestPodsObserveTogether(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 1, 31, 12, 0, second, 0, time.UTC) }
	report := func(serial int64, second int, requests int64, fault string) step.Observed {
		return step.Observed{Serial: serial, Since: at(0), At: at(second), Versions: map[string]step.Observation{"v2": {Requests: requests, Fault: fault}}}
	}
	ready := func(uid types.UID, second int) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod-" + string(uid), UID: uid}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at(second))}}
		return p
	}
	leaving := ready("a", 1)
	leaving.DeletionTimestamp = &metav1.Time{Time: at(2)}
	for name, c := range map[string]struct {
		reports map[types.UID]step.Observed
		pods    []*corev1.Pod
		want    step.Observed
	}{
		"two pods": {map[types.UID]step.Observed{"a": report(3, 9, 5, ""), "b": report(3, 8, 7, "")}, []*corev1.Pod{ready("a", 1), ready("b", 1)}, report(3, 8, 12, "")},
		"one is gone, with its fault": {map[types.UID]step.Observed{"a": report(3, 4, 5, "no process"), "b": report(3, 8, 7, "")},
			[]*corev1.Pod{ready("b", 1)}, report(3, 8, 12, "")},
		"one ends": {map[types.UID]step.Observed{"a": report(2, 4, 5, ""), "b": report(3, 8, 7, "")}, []*corev1.Pod{leaving, ready("b", 1)}, report(3, 8, 7, "")},
		"one has a fault": {map[types.UID]step.Observed{"a": report(3, 9, 5, "no process"), "b": report(3, 8, 7, "")},
			[]*corev1.Pod{ready("a", 1), ready("b", 1)}, report(3, 8, 12, "pod pod-a: no process")},
		"one has the former route": {map[types.UID]step.Observed{"a": report(2, 9, 5, ""), "b": report(3, 8, 7, "")},
			[]*corev1.Pod{ready("a", 1), ready("b", 1)}, report(2, 8, 5, "")},
		"one is new":        {map[types.UID]step.Observed{"a": report(3, 9, 5, "")}, []*corev1.Pod{ready("a", 1), ready("b", 9)}, report(3, 9, 5, "")},
		"one never reports": {map[types.UID]step.Observed{"a": report(3, 59, 5, "")}, []*corev1.Pod{ready("a", 1), ready("b", 2)}, report(3, 2, 5, "")},
		"all are gone":      {map[types.UID]step.Observed{"a": report(2, 9, 5, ""), "b": report(3, 8, 7, "")}, nil, report(3, 9, 7, "")},
	} {
		if diff := cmp.Diff(&c.want, sum(c.reports, c.pods)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A service without pods has the route that its next pod begins with, and observes that nobody asks
// it, so that a release goes on.
func TestAServiceWithoutPodsObservesItsRoute(t *testing.T) {
	url := "file://" + t.TempDir()
	e := New(Options{})
	s, err := e.store(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	ts := taskState{Place: Place{Store: url}, Name: "deployments-api-1", UID: "u"}
	if err := ts.putRoute(t.Context(), s, step.Route{Serial: 3}); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	requests := func(serial, n int64) step.Observed {
		return step.Observed{Serial: serial, At: now.Add(-time.Hour), Versions: map[string]step.Observation{"v2": {Requests: n}}}
	}
	for name, c := range map[string]struct {
		reports map[types.UID]step.Observed
		want    int64
	}{
		"pods had the route before":  {map[types.UID]step.Observed{"a": requests(2, 5)}, 0},
		"pods have had the same one": {map[types.UID]step.Observed{"a": requests(2, 5), "b": requests(3, 7)}, 7},
	} {
		seen, err := ts.asleep(t.Context(), s, c.reports, now)
		if err != nil {
			t.Fatal(err)
		}
		if seen.Serial != 3 || !seen.At.Equal(now) || seen.Versions["v2"].Requests != c.want {
			t.Errorf("%s: observed %+v", name, seen)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
