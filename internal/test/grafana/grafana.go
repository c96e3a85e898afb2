// Package grafana checks dashboards for tests: against the schema that Grafana publishes, their expressions
// with Prometheus' own parser, and the metrics in these against what is exposed.
package grafana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/slo/rules"
)

// Check returns what is wrong with the dashboards in a folder. exposed are texts of metrics, as Prometheus
// reads them. It needs promtool, and builds a program for the schema.
func Check(dir string, exposed ...[]byte) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("there are no dashboards in %s", dir)
	}
	if err := Schema(files...); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, m := range declared.FindAllSubmatch(bytes.Join(exposed, []byte("\n")), -1) {
		known[string(m[1])] = true
	}
	var group rules.Group
	for _, path := range files {
		all, err := expressions(path)
		if err != nil {
			return err
		}
		for _, e := range all {
			for _, name := range metric.FindAllString(e, -1) {
				if !known[name] && !known[strings.TrimSuffix(name, "_bucket")] {
					return fmt.Errorf("%s: nothing exposes %s, in %s", path, name, e)
				}
			}
			group.Rules = append(group.Rules, rules.Rule{Record: fmt.Sprintf("r%d", len(group.Rules)), Expr: strings.ReplaceAll(e, "$__rate_interval", "5m")})
		}
	}
	group.Name = "dashboards"
	text, err := rules.File{Groups: []rules.Group{group}}.Text()
	if err != nil {
		return err
	}
	made, err := os.MkdirTemp("", "tenon-dashboards-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	file := filepath.Join(made, "rules.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("promtool", "check", "rules", file).CombinedOutput(); err != nil {
		return fmt.Errorf("promtool (of Debian's prometheus): %w\n%s", err, out)
	}
	return nil
}

var (
	declared = regexp.MustCompile(`(?m)^# TYPE (\S+) `)
	metric   = regexp.MustCompile(`\btenon_[a-z0-9_]+`)
)

// Schema returns what the schema of Grafana does not permit.
func Schema(files ...string) error {
	_, here, _, _ := runtime.Caller(0)
	args := []string{"run", "-C", filepath.Join(filepath.Dir(here), "check"), "."}
	for _, path := range files {
		abs, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		args = append(args, abs)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("the schema of Grafana: %w\n%s", err, out)
	}
	return nil
}

// expressions returns those of a dashboard, sorted.
func expressions(path string) (all []string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var d struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, p := range d.Panels {
		for _, t := range p.Targets {
			all = append(all, t.Expr)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
