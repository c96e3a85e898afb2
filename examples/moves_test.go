package examples_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/moves"
)

// Random moves of services under 64 clients, with processes killed in between: new versions, weights,
// aborts, shadows, tables, events. No request fails, beside those that were lost with the connections
// of a process that was killed. The benchmark makes a hundred moves, and does the same in containers.
func TestNoRequestFailsInRandomMoves(t *testing.T) {
	s := &moves.System{Tenon: tenonPath, Dir: t.TempDir(), Fraud: freePort(t), Late: freePort(t)}
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Deploy(t.Context()); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	var made []string
	m := &moves.Mover{System: s, Random: rand.New(rand.NewPCG(seed, 0)), Say: func(move string) { made = append(made, move) }}
	m.Clients = moves.Start(64, 400, s.Targets()...)
	for began := time.Now(); len(made) < 4 || time.Since(began) < 8*time.Second; {
		if err := m.Move(t.Context()); err != nil {
			t.Errorf("seed %d, moves %q: %v", seed, made, err)
			break
		}
	}
	r := m.Clients.End()
	t.Logf("%d answers in %d moves; %d requests lost with %d processes", r.Answered, len(made), r.Lost, r.Kills)
	if len(r.Failed) > 0 || r.Answered == 0 {
		logs, _ := s.Run(t.Context(), "status")
		t.Errorf("seed %d, moves %q: %d requests failed:\n%s\n%s", seed, made, len(r.Failed), strings.Join(r.Failed[:min(len(r.Failed), 10)], "\n"), logs)
	}
}
