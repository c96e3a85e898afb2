package live_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/live"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// This binary is the program that replays, too. Every row with an odd number differs.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "replay" {
		if err := replay(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func replay(how string) error {
	var r requests.Replay
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return err
	}
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	found := requests.Replayed{Columns: map[string]int64{}, Notes: []string{fmt.Sprint("priority ", 20-nice)}}
	switch how {
	case "fails":
		return fmt.Errorf("no disk")
	case "hangs":
		select {}
	}
	files, err := requestlog.Files(r.Log)
	if err != nil {
		return err
	}
	for _, path := range files {
		f, err := requestlog.OpenFile(path)
		if err != nil {
			return err
		}
		err = f.Each(context.Background(), func(row []rowsql.Value) error {
			x := row[f.Index("request.x")].Int()
			if found.Rows++; x%2 == 0 {
				return nil
			}
			found.Differing++
			found.Columns["x"]++
			return out.Encode(requests.Event{Difference: &requests.Differing{Kind: "cells", Column: "x", RequestID: row[f.Index("request_id")].Text, Wanted: fmt.Sprint(x + 1), Got: fmt.Sprint(x)}})
		})
		if err != nil {
			return err
		}
	}
	return out.Encode(requests.Event{Replayed: &found})
}

// A service checks its requests.
type service struct {
	*live.Check
	kept, scratch string
	mu            sync.Mutex
	said          []string
}

func (s *service) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.said, "\n")
}

func start(t *testing.T, how string, patience time.Duration) *service {
	t.Helper()
	s := &service{kept: filepath.Join(t.TempDir(), "parity"), scratch: t.TempDir()}
	var err error
	s.Check, err = live.Start(live.Options{
		Fraction: 1, Head: requestlog.Head{Instance: "i1", Request: ir.Schema{{Name: "x", Type: "int64"}}, Label: ir.Column{Name: "y", Type: "float64"}},
		Command: []string{os.Args[0], "replay", how}, Scratch: s.scratch, Kept: s.kept, Every: 20 * time.Millisecond, Patience: patience,
		Say: func(line string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.said = append(s.said, line)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// asked adds the requests for some numbers.
func (s *service) asked(from, to int64) {
	for x := from; x < to; x++ {
		s.Add(&requestlog.Request{ID: fmt.Sprint("r", x), Began: time.Now(), Rows: 1, Values: []rowsql.Value{rowsql.Int(x)}, Outputs: []float64{1}})
	}
}

func (s *service) until(t *testing.T, what string, ok func(c live.Counts) bool) live.Counts {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if c := s.Counts(); ok(c) {
			return c
		} else if time.Since(start) > 20*time.Second {
			t.Fatalf("%s: there is %+v, and it said %s", what, c, s.log())
		}
	}
}

func TestDifferencesAreCountedAndKept(t *testing.T) {
	s := start(t, "works", time.Minute)
	s.asked(0, 50)
	c := s.until(t, "the rows are checked", func(c live.Counts) bool { return c.Checked == 50 })
	if c.Different != 25 || c.Columns["x"] != 25 || c.Failed != 0 || c.Last.IsZero() {
		t.Errorf("it counts %+v", c)
	}
	if says := s.log(); !strings.Contains(says, "parity: request r1 row 0: x: 2 in training, 1 from the service") {
		t.Errorf("it says %s", says)
	}
	f, err := os.Open(filepath.Join(s.kept, requests.DifferencesFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kept := 0
	for lines := bufio.NewScanner(f); lines.Scan(); kept++ {
		var d requests.Differing
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil || d.Column != "x" {
			t.Errorf("%s: %v", lines.Text(), err)
		}
	}
	if kept != 25 {
		t.Errorf("%d differences are kept", kept)
	}
	var found requests.Parity
	b, err := os.ReadFile(filepath.Join(s.kept, requests.ParityFile))
	if err == nil {
		err = json.Unmarshal(b, &found)
	}
	if err != nil || found.Checked != 50 || found.Different != 25 || found.Instance != "i1" {
		t.Errorf("it has found %+v, %v", found, err)
	}
	if len(found.Notes) != 1 || found.Notes[0] != "priority 19" {
		t.Errorf("the process has %q", found.Notes)
	}
	left, err := filepath.Glob(filepath.Join(s.scratch, "parity", "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("samples are left: %v, %v", left, err)
	}
}

// Requests go on when checks fail, and it is said once.
func TestFailedChecksAreCounted(t *testing.T) {
	for how, says := range map[string]string{"fails": "note: requests are not checked: no disk", "hangs": "note: requests are not checked: it took longer than 100ms"} {
		t.Run(how, func(t *testing.T) {
			most := time.Minute
			if how == "hangs" {
				most = 100 * time.Millisecond
			}
			s := start(t, how, most)
			s.asked(0, 10)
			s.until(t, "the first check fails", func(c live.Counts) bool { return c.Failed == 1 })
			s.asked(10, 20)
			c := s.until(t, "the second check fails", func(c live.Counts) bool { return c.Failed == 2 })
			if c.Checked != 0 {
				t.Errorf("it counts %+v", c)
			}
			if got := s.log(); got != says {
				t.Errorf("it says %s", got)
			}
		})
	}
}

// What a killed service was about to check is removed, since it may have private columns.
func TestOldSamplesAreRemoved(t *testing.T) {
	s := start(t, "works", time.Minute)
	old := filepath.Join(s.scratch, "parity", "samples", "old.parquet")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := live.Start(s.Options)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old sample is there: %v", err)
	}
}
