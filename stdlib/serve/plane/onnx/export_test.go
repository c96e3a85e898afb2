package onnx

import (
	"testing"

	ort "github.com/yalue/onnxruntime_go"
)

// Freed returns what is sent to when a session that is opened from now on was destroyed.
func Freed(t *testing.T) <-chan error {
	before, freed := destroy, make(chan error, 1)
	destroy = func(run *ort.DynamicAdvancedSession) { freed <- run.Destroy() }
	t.Cleanup(func() { destroy = before })
	return freed
}
