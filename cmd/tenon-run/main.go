// Command tenon-run is the process from which the program of a unit is started, on this
// machine or in a container, and which does what has to happen alongside a program.
//
//	tenon-run [-log FILE] [-secrets FILE] [-fault FILE] [-exit FILE] [-lives FILE] [-socket ADDRESS [-hand NAME] [-take NAME]...] [-dir FOLDER] PROGRAM [ARGUMENT...]
//	tenon-run -local -log FILE -exit FILE [-lives FILE] [-socket ADDRESS [-hand NAME] [-take NAME]...] [-grace DURATION] PROGRAM [ARGUMENT...]
//
// Standard output and standard error both go to the log, in the order in which they
// were printed, and package logfile bounds the log. With a file for its lives, the program is
// that of a service: it is started again when it ends, as package lives decides. With a socket,
// the program is given one that this process has too, see package sharedport: connections wait in
// it while the program is started again, and the next version takes it over.
//
// As the first process of a container, it reads secrets from a JSON object of variables,
// which override variables of the image. It forwards signals to all processes and reaps
// orphans. When the program has ended, it kills what that left behind. It exits with the
// program's status, or with 128 plus the signal that killed it. If the program could not be
// started, it writes the reason to the fault file, and the status is 127 if the program was
// not found, otherwise 126. It also writes the status to the exit file, for callers that
// lose the process; that file exists, empty, from before the program starts. The limit of
// open files does not depend on who started the container.
//
// With -local, see local.go, it leads the session of a local process.
//
// It is built without cgo, so that it runs in any image.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/local/pid1"
)

func main() {
	logFile := flag.String("log", "", "`file` for the output of the program")
	secrets := flag.String("secrets", "", "`file` with a JSON object of variables")
	faultFile := flag.String("fault", "", "`file` for the reason why the program could not be started")
	exitFile := flag.String("exit", "", "`file` for the exit status")
	dir := flag.String("dir", "", "working `folder` of the program")
	livesFile := flag.String("lives", "", "`file` for how often the program was started; with it, it is started again")
	local := flag.Bool("local", false, "lead a session of this machine")
	socket := new(held)
	flag.TextVar(&socket.at, "socket", netip.AddrPort{}, "`address` of a socket that the program is given, and that stays while it is started again")
	flag.StringVar(&socket.name, "hand", "", "`name` at which the next version gets the socket")
	flag.Func("take", "`name` at which a version before hands out the socket", func(name string) error {
		socket.former = append(socket.former, name)
		return nil
	})
	grace := flag.Duration("grace", 10*time.Second, "with -local, how `long` what a program leaves behind may take to end")
	flag.Parse()

	if *local {
		lead(*logFile, *exitFile, *livesFile, socket, *grace, flag.Args())
		return
	}
	if *exitFile != "" {
		note(*exitFile, "") // shows that the first process has run
	}
	out := &output{program: os.Stdout, log: os.Stderr}
	status, err := run(out, *logFile, *secrets, *livesFile, socket, *dir, flag.Args())
	if err != nil {
		fmt.Fprintf(out.log, "tenon: %v\n", err)
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
		return // the exit status of the process says the same
	}
	defer f.Close()
	_, _ = f.WriteString(text)
}

func run(out *output, logFile, secrets, livesFile string, socket *held, dir string, argv []string) (status int, err error) {
	if len(argv) == 0 {
		return pid1.ExitFault, errors.New("no program to run")
	}
	if err := pid1.Check(); err != nil {
		return pid1.ExitFault, err
	}
	signals := pid1.Signals()
	if logFile != "" {
		if err := out.capture(logFile); err != nil {
			return pid1.ExitFault, fmt.Errorf("open the log: %w", err)
		}
	}
	env := os.Environ()
	if secrets != "" {
		if env, err = addSecrets(env, secrets); err != nil {
			return pid1.ExitFault, fmt.Errorf("read the secrets: %w", err)
		}
	}
	relayed, asked := relay(signals)
	status = runAgain(livesFile, out.log, asked, func() (int, error) {
		var pid, status int
		env, files := socket.give(env, os.Stdin, out.program, out.program)
		if pid, status, err = pid1.Start(dir, argv, env, files...); err != nil {
			return status, err
		}
		status = pid1.Follow(pid, relayed)
		pid1.EndRest() // the log ends when nobody is left who could print
		return status, nil
	})
	if err == nil {
		out.finish()
	}
	return status, err
}

// relay passes signals on. asked has one once the program is asked to end.
func relay(signals <-chan os.Signal) (relayed, asked chan os.Signal) {
	relayed, asked = make(chan os.Signal, cap(signals)), make(chan os.Signal, 1)
	go func() {
		for s := range signals {
			if s == unix.SIGTERM && len(asked) == 0 {
				asked <- s
			}
			select {
			case relayed <- s:
			default: // whoever reads it has more than enough to do
			}
		}
	}()
	return relayed, asked
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
