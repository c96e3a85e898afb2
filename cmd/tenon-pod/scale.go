package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/kubernetes/scaler"
	"github.com/tenon-ml/tenon/executors/local/pid1"
)

// scale makes the replicas of a service follow its load until it is asked to end. It returns the
// status of the command.
func scale(config string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	var c scaler.Config
	err := json.Unmarshal([]byte(config), &c)
	if err == nil {
		var s *scaler.Scaler
		if s, err = scaler.New(c, os.Stdout); err == nil {
			err = s.Run(ctx)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stdout, "tenon: %v\n", err)
		return pid1.ExitFault
	}
	return 0
}
