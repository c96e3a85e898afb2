package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Rows of features that are looked up by their key. Feast has them in Redis, and the plane in
// its memory or in the same Redis.
const (
	lookUp          = "look up features"
	lookUpInRedis   = "look up features in Redis"
	lookUpInProcess = "look up features in process" // without HTTP, as Feast's SDK does
	lookUpGoal      = 50.0                          // times as fast as Feast
)

// measureFeatures measures the plane beside Feast: a table of many keys and 20 columns, of
// which a request asks one.
func (b *bench) measureFeatures(ctx context.Context) (err error) {
	if !b.wants(lookUp, b.keys) && !b.wants(lookUpInRedis, b.keys) && !b.wants(lookUpInProcess, b.keys) {
		return nil
	}
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w: .ci/tools bench installs it", err)
	}
	bin, err := b.pythonOf(ctx, "feast")
	if err != nil {
		return err
	}
	dir := b.path("features")
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	for _, name := range []string{"features.cue", "feast_store.py"} {
		text, err := rivalFiles.ReadFile("rivals/" + name)
		if err := errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), text, 0o644)); err != nil {
			return err
		}
	}
	server := exec.CommandContext(ctx, "taskset", "-c", "0", redis, "--port", strconv.Itoa(ports[0]), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	}()
	if err := listens(ports[0]); err != nil {
		return err
	}
	python := filepath.Join(bin, "python")
	if _, err := b.run(ctx, command{dir: dir, args: []string{python, "feast_store.py", "load", strconv.Itoa(b.keys), strconv.Itoa(ports[0])}}); err != nil {
		return err
	}
	defer func() {
		_, gone := b.run(context.WithoutCancel(ctx), command{args: []string{b.tenon, "destroy", "--yes", dir}})
		err = errors.Join(err, gone)
	}()
	if _, err := b.run(ctx, command{args: []string{b.tenon, "init", dir}}); err != nil {
		return err
	}
	return b.besideFeast(ctx, dir, python, ports)
}

// besideFeast measures each row.
func (b *bench) besideFeast(ctx context.Context, dir, python string, ports []int) error {
	feast := &server{url: fmt.Sprintf("http://127.0.0.1:%d", ports[1]), path: "/get-online-features", log: b.path("feast.log")}
	key := b.keys / 3
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("wide:c%d", i))
	}
	var err error
	if feast.body, err = json.Marshal(map[string]any{"features": names, "entities": map[string]any{"k": []int{key}}}); err != nil {
		return err
	}
	if err := b.launch(ctx, feast, "/health", dir, nil, filepath.Join(filepath.Dir(python), "feast"), "serve", "--max-requests", "0", "--host", "127.0.0.1", "--port", strconv.Itoa(ports[1])); err != nil {
		return err
	}
	defer feast.stop()
	for _, x := range [][2]string{{lookUp, ""}, {lookUpInRedis, fmt.Sprintf("redis://127.0.0.1:%d/1", ports[0])}} {
		name, store := x[0], x[1]
		if !b.wants(name, b.keys) && (name != lookUp || !b.wants(lookUpInProcess, b.keys)) {
			continue
		}
		b.say(name, b.keys)
		if _, err := b.run(ctx, command{args: []string{b.tenon, "apply", "--yes", "-t", "port=" + strconv.Itoa(ports[2]), "-t", "store=" + store, dir}}); err != nil {
			return err
		}
		if name == lookUp && b.wants(lookUpInProcess, b.keys) {
			if err := b.inProcess(ctx, dir, python); err != nil {
				return err
			}
		}
		if !b.wants(name, b.keys) {
			continue
		}
		plane, err := b.startServer(ctx, dir, "plane", filepath.Join(filepath.Dir(b.tenon), "tenon-serve"))
		if err != nil {
			return err
		}
		plane.body = fmt.Appendf(nil, `{"instances": [{"k": %d}]}`, key)
		err = sameFeatures(ctx, plane, feast)
		// One client waits mostly for the network of the machine, which is the same for both. What
		// the servers need themselves shows with several.
		for _, plane.at = range []int{1, connections} {
			if err == nil {
				err = b.lookUps(ctx, name, plane, feast)
			}
		}
		plane.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// lookUps adds the row of two servers.
func (b *bench) lookUps(ctx context.Context, name string, plane, feast *server) error {
	var ours, theirs []loaded
	feast.at = plane.at
	for range turns {
		o, err := b.wrk(ctx, plane)
		if err != nil {
			return err
		}
		f, err := b.wrk(ctx, feast)
		if err != nil {
			return err
		}
		ours, theirs = append(ours, o), append(theirs, f)
	}
	m, p50 := median50(ours)
	other, otherP50 := median50(theirs)
	b.rows = append(b.rows, tableRow{Case: name, Size: b.keys, Of: fmt.Sprintf("a request, of %d at a time", plane.at), Tenon: m, Beside: "Feast server", Other: &other, Goals: []goal{faster(p50, otherP50)}})
	return nil
}

func median50(all []loaded) (timing, time.Duration) {
	m, _ := each(all)
	slices.SortFunc(all, func(a, b loaded) int { return cmp.Compare(a.p50, b.p50) })
	return m, all[len(all)/2].p50
}

func faster(ours, theirs time.Duration) goal {
	times := float64(theirs) / float64(max(1, ours))
	return goal{Want: fmt.Sprintf("p50 at least %g times faster", lookUpGoal), Got: fmt.Sprintf("%.0f times, %s beside %s", times, short(ours), short(theirs)), Met: times >= lookUpGoal}
}

// inProcess measures a lookup without a server: that of the plane in its memory, and that of
// Feast's SDK in Redis.
func (b *bench) inProcess(ctx context.Context, dir, python string) error {
	b.say(lookUpInProcess, b.keys)
	const requests = 1000
	s, err := b.run(ctx, command{dir: dir, args: []string{"taskset", "-c", "0", python, "feast_store.py", "ask", strconv.Itoa(b.keys), strconv.Itoa(requests)}})
	if err != nil {
		return err
	}
	lines := strings.Fields(s.out)
	if len(lines) == 0 {
		return errors.New("the SDK of Feast printed nothing")
	}
	nanos, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	if err != nil {
		return err
	}
	doc, err := stepOf(dir)
	if err != nil {
		return err
	}
	var params struct{ Request features.Spec }
	if err := json.Unmarshal(doc.Params, &params); err != nil {
		return err
	}
	if doc.Inputs["model"].Signature == nil {
		return errors.New("the model has no signature")
	}
	f, err := features.Load(ctx, &step.Step{Inputs: doc.Inputs}, params.Request, doc.Inputs["model"].Signature.Input)
	if err != nil {
		return err
	}
	row, returned, r := make([]rowsql.Value, 20), make([]rowsql.Value, 20), f.Row()
	took := make([]time.Duration, 100*requests)
	random := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // keys to ask for
	for i := range took {
		in := []rowsql.Value{rowsql.Int(random.Int64N(int64(b.keys)))}
		start := time.Now()
		kept, err := r.Compute(in, row, returned)
		if took[i] = time.Since(start); err != nil || !kept {
			return fmt.Errorf("key %d is not there: %w", in[0].Int(), err)
		}
	}
	slices.Sort(took)
	ours, theirs := took[len(took)/2], time.Duration(nanos)
	b.rows = append(b.rows, tableRow{Case: lookUpInProcess, Size: b.keys, Of: "a row, median", Tenon: timing{Wall: ours, CPU: ours, Peak: int64(f.Size())},
		Beside: "Feast SDK", Other: &timing{Wall: theirs, CPU: theirs, Peak: s.peak}, Goals: []goal{faster(ours, theirs)}})
	return nil
}

// sameFeatures refuses to compare servers that have different features.
func sameFeatures(ctx context.Context, plane, feast *server) error {
	text, err := ask(ctx, plane)
	if err != nil {
		return err
	}
	var ours struct{ Predictions []map[string]any }
	if err := json.Unmarshal(text, &ours); err != nil || len(ours.Predictions) != 1 {
		return fmt.Errorf("the plane answers %s: %w", tail(string(text)), cmp.Or(err, errors.New("without features")))
	}
	if text, err = ask(ctx, feast); err != nil {
		return err
	}
	var theirs struct {
		Metadata struct {
			Names []string `json:"feature_names"`
		}
		Results []struct{ Values []any }
	}
	if err := json.Unmarshal(text, &theirs); err != nil || len(theirs.Results) != len(theirs.Metadata.Names) {
		return fmt.Errorf("the server of Feast answers %s: %w", tail(string(text)), cmp.Or(err, errors.New("without features")))
	}
	found := map[string]any{}
	for i, name := range theirs.Metadata.Names {
		if strings.HasPrefix(name, "c") && len(theirs.Results[i].Values) == 1 {
			found[name] = theirs.Results[i].Values[0]
		}
	}
	own := maps.Clone(ours.Predictions[0])
	delete(own, "prediction")
	delete(own, "probability")
	if len(found) != 20 || !maps.Equal(own, found) {
		return fmt.Errorf("the plane has the features %v, and Feast %v", own, found)
	}
	return nil
}

// listens waits until somebody listens on a port.
func listens(port int) error {
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // on this machine
		if err == nil {
			return c.Close()
		}
		if time.Since(start) > time.Minute {
			return err
		}
	}
}
