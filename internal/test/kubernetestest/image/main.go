// Image is the program of the test cluster's images.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "test image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		args = []string{""}
	}
	switch args[0] {
	case "pause": // holds the namespaces of a pod
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGINT, syscall.SIGTERM)
		<-c
		return nil
	case "print":
		fmt.Println(strings.Join(args[1:], " "))
		return nil
	case "serve":
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		return http.ListenAndServe(args[1], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "hello from", name)
		}))
	case "fetch":
		resp, err := http.Get(args[1])
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", args[1], resp.Status)
		}
		return nil
	}
	return fmt.Errorf("wanted pause, print TEXT..., serve ADDRESS or fetch URL, found %q", args)
}
