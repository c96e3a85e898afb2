package project

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// A controller keeps the process that measures. One that died is replaced, and one that is stopped fails only its
// measurement.
func TestAMeasurerOutlivesItsProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &Workspace{Project: New(Settings{SQL: worker.New(self)})}
	defer w.set.SQL.Close()
	m := new(measurer)
	defer func() {
		if err := m.close(); err != nil || m.running != nil {
			t.Errorf("close: %v", err)
		}
	}()
	q := window.Question{Monitor: ir.Monitor{Window: time.Hour, MinRows: 1, Service: &ir.ServiceLevel{}}, Begin: time.Now().Add(-time.Hour), End: time.Now(), Now: time.Now()}
	measured := func(what string) int {
		t.Helper()
		a, err := m.measure(t.Context(), w, &q)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if a.Verdict != measure.Unknown || a.Rows != 0 {
			t.Errorf("%s: %+v", what, a.Report)
		}
		return m.running.cmd.Process.Pid
	}
	first := measured("the first measurement")
	if again := measured("the second measurement"); again != first {
		t.Errorf("process %d measures after %d", again, first)
	}
	if err := m.running.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if again := measured("after the process died"); again == first {
		t.Error("the process that died has measured")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := m.measure(ctx, w, &q); !errors.Is(err, context.Canceled) {
		t.Errorf("a measurement that was stopped: %v", err)
	}
	measured("after a measurement that was stopped")
	unmeasured := window.Question{Monitor: ir.Monitor{}}
	if _, err := m.measure(t.Context(), w, &unmeasured); err == nil || err.Error() != "the monitor measures nothing" {
		t.Errorf("a monitor of nothing: %v", err)
	}
}
