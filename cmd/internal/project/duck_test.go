package project

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
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

// A process that answers something else than a reply is ended, also while it writes.
func TestAProcessThatAnswersNonsenseIsEnded(t *testing.T) {
	d := &duckProcess{cmd: exec.CommandContext(t.Context(), "yes"), command: monitorsCommand}
	var err error
	if d.asks, err = d.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.replies = json.NewDecoder(out)
	if _, err := d.ask(window.Ask{}); err == nil || !d.ended() {
		t.Errorf("it goes on, with the error %v", err)
	}
}
