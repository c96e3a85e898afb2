package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Events that clients send to a history: as many in a second as one core adds, each on the disk
// before the answer, and how long it takes until a prediction sees them.
const (
	eventsCase     = "history aggregate after an event"
	eventsTogether = 10_000
	eventCustomers = 10_000
	eventsGoal     = 100_000 // in a second
	visibleGoal    = time.Second
)

// measureEvents measures POST /events on one core.
func (b *bench) measureEvents(ctx context.Context) (err error) {
	if !b.wants(eventsCase, eventsTogether) {
		return nil
	}
	b.say(eventsCase, eventsTogether)
	dir := b.path("events")
	text, err := rivalFiles.ReadFile("rivals/events.cue")
	if err := errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "events.cue"), text, 0o644), os.WriteFile(filepath.Join(dir, "payments.csv"), pastPayments(), 0o644)); err != nil {
		return err
	}
	if _, err := b.run(ctx, command{args: []string{b.tenon, "init", dir}}); err != nil {
		return err
	}
	defer func() {
		_, gone := b.run(context.WithoutCancel(ctx), command{args: []string{b.tenon, "destroy", "--yes", dir}})
		err = errors.Join(err, gone)
	}()
	if _, err := b.run(ctx, command{args: []string{b.tenon, "apply", "--yes", dir}}); err != nil {
		return err
	}
	doc, err := stepOf(dir)
	if err != nil {
		return err
	}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	doc.Endpoint.Port, doc.Instance, doc.Lives = ports[0], "events", ""
	doc.Kept, doc.Scratch = b.path("events-kept"), b.path("events-scratch")
	step1, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	path := b.path("events.json")
	if err := errors.Join(os.MkdirAll(doc.Kept, 0o755), os.MkdirAll(doc.Scratch, 0o755), os.WriteFile(path, step1, 0o644)); err != nil {
		return err
	}
	s := &server{url: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), path: "/events", log: b.path("events.log")}
	serve := filepath.Join(filepath.Dir(b.tenon), "tenon-serve")
	if err := b.launch(ctx, s, "/readyz", doc.Code, []string{step.Env + "=" + path}, serve, "python", "_tenon/tenon_worker.py"); err != nil {
		return err
	}
	defer s.stop()
	m, disk, visible, err := b.sendEvents(ctx, s)
	if err != nil {
		return err
	}
	each := float64(eventsTogether) / m.Wall.Seconds()
	b.rows = append(b.rows, tableRow{Case: eventsCase, Size: eventsTogether, Of: "events in a request", Tenon: m, Beside: "write and fsync of its bytes", Other: &disk, Goals: []goal{
		{Want: fmt.Sprintf("%d events/s", eventsGoal), Got: fmt.Sprintf("%.0f/s", each), Met: each >= eventsGoal},
		{Want: "visible within " + short(visibleGoal), Got: short(visible), Met: visible <= visibleGoal},
	}})
	return nil
}

// sendEvents sends requests for a while. It returns the medians of a request, those of writing its
// bytes to the disk, and the longest time from the sending of events until a prediction has counted
// them.
func (b *bench) sendEvents(ctx context.Context, s *server) (m, disk timing, visible time.Duration, err error) {
	file, err := os.Create(b.path("events-written"))
	if err != nil {
		return m, disk, 0, err
	}
	defer file.Close()
	var samples, writes []sample
	now := time.Date(2024, 7, 1, 0, 0, 0, 0, time.UTC)
	for began, n := time.Now(), 0; n < 3 || time.Since(began) < b.time; n++ {
		s.path, s.body = "/events", newPayments(n, now.Add(time.Duration(n)*time.Second))
		before, _, err := usage(s.cmd.Process.Pid)
		if err != nil {
			return m, disk, 0, err
		}
		start := time.Now()
		answer, err := ask(ctx, s)
		if err != nil {
			return m, disk, 0, err
		}
		wall := time.Since(start)
		if want := fmt.Sprintf(`{"added":%d,"known":0}`, eventsTogether); string(answer) != want {
			return m, disk, 0, fmt.Errorf("POST /events answers %s, wanted %s", tail(string(answer)), want)
		}
		after, peak, err := usage(s.cmd.Process.Pid)
		if err != nil {
			return m, disk, 0, err
		}
		samples = append(samples, sample{wall: wall, cpu: after - before, peak: peak})
		written := time.Now()
		if _, err := file.Write(s.body); err != nil {
			return m, disk, 0, err
		}
		if err := file.Sync(); err != nil {
			return m, disk, 0, err
		}
		writes = append(writes, sample{wall: time.Since(written)})
		start = start.Add(time.Since(written)) // which no client waits for
		// The customer 0 has one payment of each request.
		s.path = "/predict"
		s.body = fmt.Appendf(nil, `{"instances":[{"id":-1,"paid":%q,"customer":"c0","cents":1,"country":"PT"}]}`, now.Add(time.Hour).Format("2006-01-02T15:04:05"))
		answer, err = ask(ctx, s)
		if err != nil {
			return m, disk, 0, err
		}
		var doc struct {
			Predictions []struct {
				Payments int `json:"week_payments"`
			}
		}
		if err := json.Unmarshal(answer, &doc); err != nil || len(doc.Predictions) != 1 || doc.Predictions[0].Payments != n+2 {
			return m, disk, 0, fmt.Errorf("after %d requests with events, a prediction is %s: %w", n+1, tail(string(answer)), err)
		}
		visible = max(visible, time.Since(start))
	}
	return medians(samples), medians(writes), visible, nil
}

// pastPayments are those that the model learns from, a year before.
func pastPayments() []byte {
	var b bytes.Buffer
	b.WriteString("id,paid,customer,cents,country,fraud\n")
	at := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 2000 {
		fmt.Fprintf(&b, "%d,%s,c%d,%d,%s,%t\n", i, at.Add(time.Duration(i)*time.Minute).Format("2006-01-02 15:04:05"), i%300, i*7919%10_000, []string{"PT", "ES", "FR"}[i%3], i*31%17 == 0)
	}
	return b.Bytes()
}

// newPayments are the events of a request, one of each customer.
func newPayments(request int, at time.Time) []byte {
	b := []byte(`{"events":[`)
	for i := range eventsTogether {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"id":%d,"paid":%q,"customer":"c%d","cents":%d,"country":"PT"}`, 1_000_000+request*eventsTogether+i, at.Format("2006-01-02T15:04:05"), i%eventCustomers, i%10_000)
	}
	return append(b, "]}"...)
}
