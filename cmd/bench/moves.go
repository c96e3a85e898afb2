package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/test/containerdtest"
	"github.com/tenon-ml/tenon/internal/test/moves"
)

// Moves of services under load: new versions that take over, releases, and processes that are killed.
const (
	movesCase   = "failed requests in random moves and kills" // then where
	p99Case     = "p99 during a move"
	weightCase  = "weight changed by tenon release"
	moveClients = 64
	moveRate    = 400.0 // requests in a second, of all clients
	calmRate    = 100.0 // so few that a service with processes of Python has none waiting at rest
	p99Goal     = 1.5   // times that at rest
	weightGoal  = time.Second

	// restMost is the p99 at rest above which services do not keep up with the requests: its
	// ratio to another one says nothing.
	restMost = 250 * time.Millisecond
)

// measureMoves measures them on each executor of this machine.
func (b *bench) measureMoves(ctx context.Context) error {
	for _, where := range []string{"processes", "containers"} {
		if err := b.measureMovesOn(ctx, where); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureMovesOn(ctx context.Context, where string) (err error) {
	wants := func(name string, n int) bool { return b.wants(name+", "+where, n) }
	if !wants(movesCase, b.moves) && !wants(p99Case, b.calm) && !wants(weightCase, b.calm) {
		return nil
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	s := &moves.System{Tenon: b.tenon, Dir: b.path("moves-" + where), Fraud: ports[0], Late: ports[1]}
	// The base image is in the cache of the user, and environments may be.
	s.Env = slices.DeleteFunc(slices.Clone(b.env), func(kv string) bool { return strings.HasPrefix(kv, "TENON_CACHE=") })
	if where == "containers" {
		d, err := containerdtest.Start("/tmp")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Stop()) }()
		s.Mark, s.Containers = d.Namespace, fmt.Sprintf("base: %q, namespace: %q", madeImage, d.Namespace)
		s.Env = append(s.Env, "CONTAINERD_ADDRESS="+d.Address)
	}
	defer func() { err = errors.Join(err, s.Remove()) }()
	b.say("deploy the system of moves, "+where, 1)
	if err := s.Deploy(ctx); err != nil {
		return err
	}
	seed := uint64(time.Now().UnixNano())
	m := &moves.Mover{System: s, Random: rand.New(rand.NewPCG(seed, 0)), Say: func(what string) { fmt.Fprintf(b.progress, "  %s\n", what) }}
	if wants(p99Case, b.calm) {
		b.say(p99Case+", "+where, b.calm)
		if err := b.measureP99(ctx, m, where); err != nil {
			return err
		}
	}
	if wants(weightCase, b.calm) {
		b.say(weightCase+", "+where, b.calm)
		if err := b.measureWeight(ctx, m, where); err != nil {
			return err
		}
	}
	if wants(movesCase, b.moves) {
		b.say(movesCase+", "+where, b.moves)
		if err := b.measureRandomMoves(ctx, m, where, seed); err != nil {
			return err
		}
	}
	return nil
}

// madeImage is the base image that `make base-image` builds.
const madeImage = "localhost/tenon/python:3.11"

// measureRandomMoves counts requests that fail while services are moved and processes are killed.
func (b *bench) measureRandomMoves(ctx context.Context, m *moves.Mover, where string, seed uint64) error {
	m.Clients = moves.Start(moveClients, moveRate, m.Targets()...)
	began := time.Now()
	var err error
	for i := 0; i < b.moves && err == nil; i++ {
		err = m.Move(ctx)
	}
	took := time.Since(began) / time.Duration(b.moves)
	r := m.Clients.End()
	if err != nil {
		return fmt.Errorf("seed %d: %w", seed, err)
	}
	for _, f := range r.Failed[:min(len(r.Failed), 10)] {
		fmt.Fprintf(b.progress, "  failed: %s\n", f)
	}
	last := timing{Wall: took, Runs: b.moves}
	b.rows = append(b.rows, tableRow{Case: movesCase + ", " + where, Size: b.moves, Of: "moves, for each", Tenon: last, Beside: "itself", Other: &last, Goals: []goal{
		{Want: fmt.Sprintf("0 of %d failed", r.Answered+r.Lost+len(r.Failed)), Got: fmt.Sprintf("%d failed", len(r.Failed)), Met: len(r.Failed) == 0},
		{Want: fmt.Sprintf("%d lost with %d killed processes, at most one of each client", r.Lost, r.Kills), Got: fmt.Sprintf("%d lost", r.Lost), Met: r.Lost <= moveClients*r.Kills},
	}})
	return nil
}

// measureP99 compares the 99th percentile in each move with that just before.
func (b *bench) measureP99(ctx context.Context, m *moves.Mover, where string) error {
	m.Clients = moves.Start(moveClients, calmRate, m.Targets()...)
	const rest, after = 2 * time.Second, 500 * time.Millisecond
	var at, in []sample
	var ratios []float64
	var err error
	for i := 0; i < b.calm && err == nil; i++ {
		time.Sleep(rest)
		began := time.Now()
		err = m.MoveCalmly(ctx)
		time.Sleep(after)
		ended := time.Now()
		time.Sleep(after) // the last requests are answered
		before, n := m.Clients.P99(began.Add(-rest), began)
		during, k := m.Clients.P99(began, ended)
		if n == 0 || k == 0 {
			continue
		}
		at, in = append(at, sample{wall: before}), append(in, sample{wall: during})
		ratios = append(ratios, float64(during)/float64(before))
	}
	r := m.Clients.End()
	if err == nil && (len(r.Failed) > 0 || len(ratios) == 0) {
		err = fmt.Errorf("%d requests failed: %s", len(r.Failed), strings.Join(r.Failed[:min(len(r.Failed), 5)], "; "))
	}
	if err != nil {
		return err
	}
	slices.Sort(ratios)
	ratio := ratios[len(ratios)/2]
	other := medians(at)
	if other.Wall > restMost {
		return fmt.Errorf("p99 at rest is %s: the machine is too busy to measure what a move adds", other.Wall)
	}
	b.rows = append(b.rows, tableRow{Case: p99Case + ", " + where, Size: b.calm, Of: "moves", Tenon: medians(in), Beside: "at rest", Other: &other, Goals: []goal{
		{Want: fmt.Sprintf("at most %s, median of all is %s", times(p99Goal), times(ratio)), Got: times(ratio), Met: ratio <= p99Goal},
	}})
	return nil
}

// measureWeight measures the time from the start of a command until its weight is in effect.
func (b *bench) measureWeight(ctx context.Context, m *moves.Mover, where string) error {
	if err := m.Challenge(ctx); err != nil {
		return err
	}
	var effects, commands []sample
	for i := range b.calm {
		to := 20 + i%60
		effect, command, err := m.Weigh(ctx, to)
		if err != nil {
			return err
		}
		effects, commands = append(effects, sample{wall: effect}), append(commands, sample{wall: command})
	}
	took, command := medians(effects), medians(commands)
	b.rows = append(b.rows, tableRow{Case: weightCase + ", " + where, Size: b.calm, Of: "times, until it is in effect", Tenon: took, Beside: "the end of the command", Other: &command, Goals: []goal{wallGoal(took, weightGoal)}})
	return nil
}
