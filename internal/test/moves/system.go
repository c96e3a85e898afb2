package moves

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed system.cue.txt
var declaration string

// A System is one with two services: fraud, whose model Go evaluates, has a history with events, and
// is replaced at once; late, whose model predicts in processes of Python, looks rows up in a table and
// is released in steps.
type System struct {
	Tenon      string // program
	Dir        string // of the system
	Env        []string
	Containers string // settings of a target for containers; "" for local processes
	// Mark is a part of the control group of all processes in containers.
	Mark        string
	Fraud, Late int // ports

	instances, limit int // what is edited
	shadow           bool
	vans             int
	events           int
}

// Write writes the system as it is now.
func (s *System) Write() error {
	target := ""
	if s.Containers != "" {
		target = fmt.Sprintf("target: \"box\"\ntargets: box: tenon.#Containerd & {%s}\n", s.Containers)
	}
	shadow := ""
	if s.shadow {
		shadow = "shadow: 0.5"
	}
	var payments, trips, vans strings.Builder
	payments.WriteString("id,paid,customer,cents,fraud\n")
	trips.WriteString("id,van,distance,late\n")
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 300 {
		fmt.Fprintf(&payments, "%d,%s,c%d,%d,%t\n", i, at.Add(time.Duration(i)*time.Hour).Format("2006-01-02 15:04:05"), i%20, i*7919%10_000, i*31%17 == 0)
		fmt.Fprintf(&trips, "%d,v%d,%d,%t\n", i, i%4, i%90, i%4 < 2)
	}
	fmt.Fprintf(&vans, "van,built\nv0,2000\nv1,2001\nv2,2020\nv3,2021\nspare,%d\n", 1950+s.vans)
	var err error
	for name, text := range map[string]string{
		"payments.csv": payments.String(), "trips.csv": trips.String(), "vans.csv": vans.String(),
		"system.cue": fmt.Sprintf(declaration, target, s.Fraud, 1000+s.instances, s.Late, 1000+s.limit, shadow),
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644))
	}
	return err
}

// Run runs tenon in the system.
func (s *System) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.Tenon, args...)
	cmd.Dir, cmd.Env = s.Dir, append(os.Environ(), s.Env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("tenon %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// Deploy writes the system and applies it.
func (s *System) Deploy(ctx context.Context) error {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	if err := s.Write(); err != nil {
		return err
	}
	if _, err := s.Run(ctx, "init"); err != nil {
		return err
	}
	_, err := s.Run(ctx, "apply", "--yes")
	return err
}

// Remove ends everything.
func (s *System) Remove() error {
	_, err := s.Run(context.Background(), "destroy", "--yes")
	return err
}

func url(port int, path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", port, path) }

// Targets are what clients ask. A payment has the same history whenever it is asked for, and a van
// the same age.
func (s *System) Targets() []Target {
	return []Target{
		{URL: url(s.Fraud, "/predict"), Body: `{"instances":[{"id":-1,"paid":"2024-01-13T12:00:00","customer":"c1","cents":7}]}`, Check: returned("week_payments", 9)},
		{URL: url(s.Late, "/predict"), Body: `{"instances":[{"van":"v0","distance":7}]}`, Check: returned("age", 24)},
	}
}

func returned(column string, want float64) func(http.Header, []byte) error {
	return func(_ http.Header, body []byte) error {
		var doc struct{ Predictions []map[string]any }
		if err := json.Unmarshal(body, &doc); err != nil || len(doc.Predictions) != 1 || doc.Predictions[0][column] != want {
			return fmt.Errorf("wanted %s %g, got %s", column, want, body)
		}
		return nil
	}
}

// post sends an event of another customer to the history.
func (s *System) post(random *rand.Rand) error {
	s.events++
	paid := time.Date(2024, 6, 1, 0, 0, s.events, 0, time.UTC).Format("2006-01-02T15:04:05")
	body := fmt.Sprintf(`{"events":[{"id":%d,"paid":%q,"customer":"e%d","cents":5}]}`, 1_000_000+s.events, paid, random.IntN(20))
	r, err := (&http.Client{Timeout: patience}).Post(url(s.Fraud, "/events"), "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("POST /events: %s", r.Status)
	}
	return nil
}
