package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// The locks of the Python environments of other servers, and what they serve.
//
//go:embed rivals
var rivalFiles embed.FS

// A rival is a server of models that gets the same model. It takes rows of features, which the
// plane computes.
type rival struct {
	name    string
	goal    float64 // how many times its requests the plane answers
	program string  // of its environment
	argv    []string
	env     []string
	ready   string // path
	path    string // of requests
	// write makes its folder, beside the model in model.joblib.
	write func(dir string, ports []int) error
	body  func(row map[string]any) any
	// read reads the probability of one row.
	read func(answer []byte) (float64, error)
}

var rivals = []rival{
	{
		name: "MLServer", goal: 20, program: "mlserver", argv: []string{"start", "."}, ready: "/v2/health/ready", path: "/v2/models/late/infer",
		write: func(dir string, ports []int) error {
			return errors.Join(
				writeJSON(filepath.Join(dir, "settings.json"), map[string]any{"host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2], "parallel_workers": 0, "debug": false}),
				writeJSON(filepath.Join(dir, "model-settings.json"), map[string]any{"name": "late", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": map[string]any{"uri": "./model.joblib"}}))
		},
		body: func(row map[string]any) any {
			var inputs []any
			for name, v := range row {
				in := map[string]any{"name": name, "shape": []int{1, 1}, "datatype": "FP64", "data": []any{v}}
				if _, text := v.(string); text {
					in["datatype"], in["parameters"] = "BYTES", map[string]any{"content_type": "str"}
				}
				inputs = append(inputs, in)
			}
			return map[string]any{"parameters": map[string]any{"content_type": "pd"}, "inputs": inputs, "outputs": []any{map[string]any{"name": "predict_proba"}}}
		},
		read: func(answer []byte) (float64, error) {
			var doc struct{ Outputs []struct{ Data []float64 } }
			if err := json.Unmarshal(answer, &doc); err != nil || len(doc.Outputs) != 1 || len(doc.Outputs[0].Data) != 2 {
				return 0, cmp.Or(err, errors.New("without probabilities"))
			}
			return doc.Outputs[0].Data[1], nil
		},
	},
	{
		name: "BentoML", goal: 20, program: "bentoml", argv: []string{"serve", "bentoml_service:Late", "--host", "127.0.0.1", "--port"}, ready: "/readyz", path: "/predict",
		env: []string{"BENTOML_DO_NOT_TRACK=1"},
		write: func(dir string, _ []int) error {
			b, err := rivalFiles.ReadFile("rivals/bentoml_service.py")
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "bentoml_service.py"), b, 0o644))
		},
		body: func(row map[string]any) any { return map[string]any{"rows": []any{row}} },
		read: func(answer []byte) (float64, error) {
			var rows [][]float64
			if err := json.Unmarshal(answer, &rows); err != nil || len(rows) != 1 || len(rows[0]) != 2 {
				return 0, cmp.Or(err, errors.New("without probabilities"))
			}
			return rows[0][1], nil
		},
	},
}

func (r *rival) row() string { return "serve flights, " + r.name }

func writeJSON(path string, doc any) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// wantedRivals are those whose rows are measured.
func (b *bench) wantedRivals() (wanted []rival) {
	for _, r := range rivals {
		if b.wants(r.row(), 1) {
			wanted = append(wanted, r)
		}
	}
	return wanted
}

// measureRival measures a server beside the plane, which computes the features as well.
func (b *bench) measureRival(ctx context.Context, r rival, dir string, plane *server) error {
	b.say(r.row(), 1)
	bin, err := b.pythonOf(ctx, r.program)
	if err != nil {
		return err
	}
	other, err := b.startRival(ctx, r, dir, bin)
	if err != nil {
		return err
	}
	defer other.stop()
	if plane.body, err = os.ReadFile(filepath.Join(example, "request.json")); err != nil {
		return err
	}
	text, err := ask(ctx, other)
	if err != nil {
		return err
	}
	theirs, err := r.read(text)
	if err != nil {
		return fmt.Errorf("%s answers %s: %w", r.name, tail(string(text)), err)
	}
	if text, err = ask(ctx, plane); err != nil {
		return err
	}
	var ours struct {
		Predictions []struct{ Probability float64 }
	}
	if err := json.Unmarshal(text, &ours); err != nil || len(ours.Predictions) != 1 || ours.Predictions[0].Probability != theirs {
		return fmt.Errorf("%s predicts %v, and the plane answers %s: %w", r.name, theirs, tail(string(text)), cmp.Or(err, errors.New("another prediction")))
	}
	m, other2, p99, otherP99, err := b.turns(ctx, plane, other)
	if err != nil {
		return err
	}
	times := float64(other2.Wall) / float64(max(1, m.Wall))
	b.rows = append(b.rows, tableRow{Case: r.row(), Size: 1, Of: "a request, time of each", Tenon: m, Beside: r.name, Other: &other2, Goals: []goal{
		{Want: fmt.Sprintf("at least %g times the requests", r.goal), Got: fmt.Sprintf("%.0f times, %.0f/s beside %.0f/s", times, 1/m.Wall.Seconds(), 1/other2.Wall.Seconds()), Met: times >= r.goal},
		{Want: "p99 below " + r.name + "'s " + short(otherP99), Got: short(p99), Met: p99 < otherP99},
	}})
	return nil
}

// startRival starts a server with the model of an applied system.
func (b *bench) startRival(ctx context.Context, r rival, dir, bin string) (*server, error) {
	at := b.path(r.program + "-serves")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return nil, err
	}
	doc, err := stepOf(dir)
	if err != nil {
		return nil, err
	}
	model, err := os.ReadFile(filepath.Join(doc.Inputs["model"].Path, "model.joblib"))
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(at, "model.joblib"), model, 0o644), r.write(at, ports)); err != nil {
		return nil, err
	}
	var request struct{ Instances []map[string]any }
	if err := json.Unmarshal([]byte(featuresOfFlight), &request); err != nil {
		return nil, err
	}
	argv := append([]string{filepath.Join(bin, r.program)}, r.argv...)
	if argv[len(argv)-1] == "--port" {
		argv = append(argv, fmt.Sprint(ports[0]))
	}
	s := &server{url: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), path: r.path, log: b.path(r.program + ".log")}
	if s.body, err = json.Marshal(r.body(request.Instances[0])); err != nil {
		return nil, err
	}
	return s, b.launch(ctx, s, r.ready, at, append(slices.Clone(r.env), "HOME="+at), argv...)
}

// pythonOf makes the environment of a program from its lock. It returns its folder of programs.
func (b *bench) pythonOf(ctx context.Context, program string) (string, error) {
	uv, err := exec.LookPath(cmp.Or(os.Getenv("TENON_UV"), "uv"))
	if err != nil {
		return "", fmt.Errorf("%w: .ci/tools run installs it", err)
	}
	lock, err := rivalFiles.ReadFile("rivals/" + program + ".txt")
	if err != nil {
		return "", err
	}
	dir, file := b.path(program+"-python"), b.path(program+".txt")
	if err := os.WriteFile(file, lock, 0o644); err != nil {
		return "", err
	}
	for _, args := range [][]string{{"venv", "--no-project", "--python", stdlib.PythonVersion, dir}, {"pip", "sync", "--compile-bytecode", "--python", filepath.Join(dir, "bin", "python"), file}} {
		if _, err := b.run(ctx, command{args: append([]string{uv}, args...)}); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "bin"), nil
}

// stepOf reads the step of the service of an applied system, the newest if it was replaced.
func stepOf(dir string) (doc step.Step, err error) {
	found, err := filepath.Glob(filepath.Join(dir, ".tenon", "runs", "deployments-api-[0-9a-f]*", "step.json"))
	if err != nil || len(found) == 0 {
		return doc, errors.Join(err, fmt.Errorf("no service in %s", dir))
	}
	newest, last := "", time.Time{}
	for _, path := range found {
		info, err := os.Stat(path)
		if err != nil {
			return doc, err
		}
		if info.ModTime().After(last) {
			newest, last = path, info.ModTime()
		}
	}
	text, err := os.ReadFile(newest)
	if err != nil {
		return doc, err
	}
	return doc, json.Unmarshal(text, &doc)
}

func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // of TCP
	}
	return ports, nil
}

// ask sends the request of a server, and returns its answer.
func ask(ctx context.Context, s *server) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+s.path, bytes.NewReader(s.body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: %s", s.url, answer.Status, strings.TrimSpace(tail(string(text))))
	}
	return text, nil
}
