package pod_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// Kubernetes cuts off longer messages, and truncated JSON is invalid.
func TestMessageIsBoundedAndReadable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fault := strings.Repeat(rapid.String().Draw(t, "fault"), rapid.IntRange(0, 3000).Draw(t, "times"))
		want := pod.End{ExitCode: rapid.IntRange(0, 255).Draw(t, "exit"), Signal: "SIGKILL", Fault: fault, Stored: rapid.Bool().Draw(t, "stored")}
		message := want.Message()
		got, ok := pod.ReadMessage(string(message))
		if !ok || len(message) > 4096 {
			t.Fatalf("%d bytes, read: %v", len(message), ok)
		}
		if !strings.HasPrefix(fault, got.Fault) && utf8.ValidString(fault) || len(fault) < 300 && got.Fault != fault && utf8.ValidString(fault) {
			t.Fatalf("the fault %q is read as %q", fault, got.Fault)
		}
		if got.Fault = want.Fault; got != want {
			t.Fatalf("read %+v, want %+v", got, want)
		}
	})
}

func TestInvalidMessages(t *testing.T) {
	for _, message := range []string{"", "null", "3", "OOMKilled", `{"exit_code": 3`} {
		if end, ok := pod.ReadMessage(message); ok {
			t.Errorf("%q is read as %+v", message, end)
		}
	}
}

func TestAPodSucceedsOnlyIfAllIsWell(t *testing.T) {
	for _, c := range []struct {
		end  pod.End
		want int
	}{
		{pod.End{}, 0}, {pod.End{ExitCode: 3}, 3}, {pod.End{ExitCode: 137, Fault: "wrote too much"}, 137}, {pod.End{Fault: "an output is a link"}, 126},
	} {
		if got := c.end.Status(); got != c.want {
			t.Errorf("%+v exits with %d, want %d", c.end, got, c.want)
		}
	}
}
