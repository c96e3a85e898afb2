package kubernetes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The ConfigMap of a task holds its state. An earlier version stored it under another key.
func TestTaskStateInAConfigMap(t *testing.T) {
	place := Place{Context: "here", Namespace: "ml"}
	want := taskState{Place: place, Name: "train-1", Unit: "models/late/train", Kind: "job", UID: "u", Dir: "/runs/1"}
	data, err := want.data()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{taskStateKey, "record.json"} {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: want.Name, UID: want.UID}, Data: map[string]string{key: data[taskStateKey]}}
		if got, err := fromConfigMap(m, place, want.Dir); err != nil || got != want {
			t.Errorf("from %s: %+v, %v", key, got, err)
		}
	}
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Data: map[string]string{taskStateKey: data[taskStateKey]}}
	if _, err := fromConfigMap(foreign, place, ""); err == nil {
		t.Error("the state of another task is taken for its own")
	}
}
