package plane

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/pythontest"
)

// The clients of KServe, Triton and MLServer, over REST and gRPC, and those that write Arrow, get
// what POST /predict answers.
func TestClients(t *testing.T) {
	p, _ := planeOf(t, nil)
	address := listening(t, p)
	folder := filepath.Join("..", "..", "..", "internal", "test", "clients")
	// Each is a process of its own: Python holds one definition of a message, and all of them have their own.
	for client, tt := range map[string]struct {
		lock    string
		answers int // that are compared
	}{"kserve": {"kserve", 4}, "triton": {"kserve", 2}, "arrow": {"kserve", 2}, "mlserver": {"mlserver", 2}} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			packages, err := os.ReadFile(filepath.Join(folder, tt.lock+".lock"))
			if err != nil {
				t.Fatal(err)
			}
			python := pythontest.Interpreter(t, packages)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, python, filepath.Join(folder, "ask.py"), "http://"+address, client)
			// They send no telemetry, and ask nobody but the service.
			cmd.Env = append(os.Environ(), "OTEL_SDK_DISABLED=true", "DO_NOT_TRACK=1", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%.4000s", err, out)
			}
			if got := strings.Count(string(out), "ok  "); got != tt.answers {
				t.Errorf("%d answers were compared, want %d:\n%s", got, tt.answers, out)
			}
		})
	}
}
