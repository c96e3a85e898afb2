package project

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// A measurement of a part of a log says what is missing, beside its reason.
func TestMeasuredWithoutAPartOfTheLog(t *testing.T) {
	var q window.Question
	if err := gap(&q, fs.ErrPermission); !errors.Is(err, fs.ErrPermission) || len(q.Gaps) != 0 {
		t.Errorf("another error became %v, %q", err, q.Gaps)
	}
	lost := &executors.PartialError{Lacks: []string{"host a", "host b"}, Errs: []error{errors.New("a is lost"), errors.New("b is lost")}}
	if err := gap(&q, lost); err != nil {
		t.Fatal(err)
	}
	a := &window.Answer{Report: &measure.Report{Reason: "x drifts"}}
	if got, want := measurement(&ir.Unit{}, q, a).Reason, "x drifts; without the log of host a, host b, which does not answer"; got != want {
		t.Errorf("the reason is %q, want %q", got, want)
	}
	a.Reason = ""
	if got := measurement(&ir.Unit{}, q, a).Reason; !strings.HasPrefix(got, "without the log of host a") {
		t.Errorf("the reason is %q", got)
	}
}
