// Command tenon-run is the first process of a container of Tenon. It runs the program
// of a unit and does for it what the first process of a container must do.
//
//	tenon-run [-log FILE] [-secrets FILE] [-fault FILE] [-exit FILE] [-dir FOLDER] PROGRAM [ARGUMENT...]
//
// Standard output and standard error both go to the log, in the order in which they
// were printed. Secrets are read from a JSON object of variables, and override
// variables of the image. The command forwards signals to all processes and reaps
// orphans. When the program has ended, the kernel kills what it left behind. The
// command exits with the program's status, or with 128 plus the signal that killed it.
// If the program could not be started, it writes the reason to the fault file, and the
// status is 127 if the program was not found, otherwise 126. It also writes the status
// to the exit file, for callers that lose the process; that file exists, empty, from
// before the program starts. The limit of open files does not depend on who started the
// container.
//
// It is built without cgo, so that it runs in any image.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local/pid1"
)

func main() {
	logFile := flag.String("log", "", "`file` for the output of the program")
	secrets := flag.String("secrets", "", "`file` with a JSON object of variables")
	faultFile := flag.String("fault", "", "`file` for the reason why the program could not be started")
	exitFile := flag.String("exit", "", "`file` for the exit status")
	dir := flag.String("dir", "", "working `folder` of the program")
	flag.Parse()

	if *exitFile != "" {
		note(*exitFile, "") // tells that the first process has run
	}
	status, err := run(*logFile, *secrets, *dir, flag.Args())
	if err != nil {
		fmt.Fprintf(os.Stderr, "tenon: %v\n", err)
		if *faultFile != "" {
			_ = os.WriteFile(*faultFile, []byte(err.Error()+"\n"), 0o644) // the log says it too
		}
	}
	if *exitFile != "" {
		note(*exitFile, fmt.Sprintln(status))
	}
	os.Exit(status)
}

// note writes to a path where the program may have put anything.
func note(name, text string) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return // the exit status of the process tells the same
	}
	defer f.Close()
	_, _ = f.WriteString(text)
}

func run(logFile, secrets, dir string, argv []string) (status int, err error) {
	if len(argv) == 0 {
		return pid1.ExitFault, errors.New("no program to run")
	}
	if err := pid1.Check(); err != nil {
		return pid1.ExitFault, err
	}
	signals := pid1.Signals()
	if err := openLog(logFile); err != nil {
		return pid1.ExitFault, fmt.Errorf("open the log: %w", err)
	}
	env := os.Environ()
	if secrets != "" {
		if env, err = addSecrets(env, secrets); err != nil {
			return pid1.ExitFault, fmt.Errorf("read the secrets: %w", err)
		}
	}
	pid, status, err := pid1.Start(dir, argv, env, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		return status, err
	}
	return pid1.Follow(pid, signals), nil // and the kernel kills what it left behind
}

// openLog sends both outputs to one open file, so that they keep their order.
func openLog(name string) error {
	if name == "" {
		return nil
	}
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(unix.Dup3(fd, 1, 0), unix.Dup3(fd, 2, 0))
}

// addSecrets replaces variables of the same names by secrets: of two equal names, most
// programs use the first.
func addSecrets(env []string, name string) ([]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var secrets map[string]string
	if err := json.Unmarshal(b, &secrets); err != nil {
		return nil, errors.New("they are not a JSON object of strings") // the error would quote them
	}
	env = slices.DeleteFunc(env, func(kv string) bool {
		k, _, _ := strings.Cut(kv, "=")
		_, secret := secrets[k]
		return secret
	})
	for _, k := range slices.Sorted(maps.Keys(secrets)) {
		env = append(env, k+"="+secrets[k])
	}
	return env, nil
}
