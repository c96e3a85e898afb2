package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/planner/state"
)

// printSystemdUnit prints a unit for systemd that runs the controller of the system in dir.
func (a *app) printSystemdUnit(ctx context.Context, dir string, o runOptions) error {
	settings, err := a.settings(dir)
	if err != nil {
		return err
	}
	if settings.Dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("find the system: %w", err)
	}
	name := ""
	if err := a.withApplied(ctx, dir, func(w *project.Workspace) error {
		last, err := w.Revisions(ctx, 1)
		if len(last) > 0 {
			name = last[0].System
		}
		return err
	}); err != nil {
		return err
	}
	_, err = fmt.Fprint(a.stdout, systemdUnit(settings, name, o))
	return err
}

// systemdUnit returns a unit for systemd. Services of local targets are children of the controller,
// so it confines them as well: it leaves them what they may need, such as devices and memory that is
// written and run, and lets them outlive the controller.
func systemdUnit(s project.Settings, system string, o runOptions) string {
	command, at := controllerCommand(s, o)
	environment := []string{"TENON_CACHE=" + s.Cache, "PATH=" + os.Getenv("PATH")}
	writable := []string{s.Dir, s.Cache}
	if at != "" {
		writable = append(writable, at)
	}
	secrets := ""
	if state.IsURL(s.State) {
		secrets += "# TENON_STATE=postgres://... belongs into the file below, which only its user should read.\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# The controller of %[1]s. Print it again when a path, the environment or the state changes.
[Unit]
Description=Tenon controller of %[1]s
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User=%[4]s
WorkingDirectory=%[2]s
ExecStart=%[3]s
`, strings.ReplaceAll(strings.TrimSpace(s.Env+" "+system), "%", "%%"), unitPath(s.Dir), unitCommand(command), protect.User())
	for _, e := range environment {
		fmt.Fprintf(&b, "Environment=%s\n", unitWord(e))
	}
	fmt.Fprintf(&b, `# Secrets of the system, one NAME=value on a line.
%sEnvironmentFile=-%s
Restart=always
RestartSec=5
# The services that it starts go on without it.
KillMode=process
TimeoutStopSec=%d
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=%s
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
`, secrets, unitPath(filepath.Join(s.Dir, "tenon.env")), int(stopTime/time.Second), unitPaths(writable))
	return b.String()
}

// controllerCommand returns the command line of a controller, and the folder of the state that it names,
// or "". A state in a database is left to $TENON_STATE, because command lines are public.
func controllerCommand(s project.Settings, o runOptions) (command []string, at string) {
	command = []string{s.Tenon, "run", s.Dir, "--every", o.every.String()}
	if o.parallel > 0 {
		command = append(command, "--parallel", fmt.Sprint(o.parallel))
	}
	if o.metrics != "" {
		command = append(command, "--metrics", o.metrics)
	}
	if s.Env != "" {
		command = append(command, "--env", s.Env)
	}
	if s.State != "" && !state.IsURL(s.State) {
		at = s.State
		if abs, err := filepath.Abs(at); err == nil {
			at = abs
		}
		command = append(command, "--state", at)
	}
	if s.Artifacts != "" {
		command = append(command, "--artifacts", s.Artifacts)
	}
	return command, at
}

// stopTime is how long systemd waits for the controller to end what runs.
const stopTime = 90 * time.Second

// unitWord quotes a word of a setting.
func unitWord(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`).Replace(s)
	return `"` + s + `"`
}

// unitPath escapes a path that is the whole value of a setting, which knows no quotes.
func unitPath(s string) string { return strings.ReplaceAll(s, "%", "%%") }

func unitPaths(all []string) string {
	quoted := make([]string, len(all))
	for i, p := range all {
		quoted[i] = unitWord("-" + p)
	}
	return strings.Join(quoted, " ")
}

// unitCommand quotes a command line, in which $ means a variable.
func unitCommand(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strings.ReplaceAll(unitWord(w), "$", "$$")
	}
	return strings.Join(quoted, " ")
}
