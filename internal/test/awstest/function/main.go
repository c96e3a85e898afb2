// Function stands for tenon-serve in tests of functions of AWS Lambda, endpoints of SageMaker and Vertex AI, and services on Fargate: it is
// small, so that its archive or image is made quickly. It writes bundles, and answers with the name of its model, which
// also says how it fails: "broken" does not start, "never" is not ready, "killed" is killed, "failing" answers
// requests with 500, and "crashing" ends when it gets one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/internal/lambda"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	if path := os.Getenv(step.Env); path != "" {
		return host(path)
	}
	if len(os.Args) > 1 { // "bundle"
		var q bundle.Question
		if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
			return err
		}
		q.Service.Inputs = nil
		b, err := json.Marshal(q.Service)
		if err != nil {
			return err
		}
		fmt.Println("{}")
		return os.WriteFile(filepath.Join(q.Dir, bundle.Service), b, 0o600)
	}
	s, err := step.ReadFile(bundle.Service)
	if err != nil {
		return err
	}
	var given struct{ Model string }
	if err := json.Unmarshal(s.Params, &given); err != nil {
		return err
	}
	fmt.Println("it starts as", given.Model)
	return lambda.Run(context.Background(), func(context.Context) (http.Handler, error) {
		switch given.Model {
		case "broken":
			return nil, errors.New("the model is damaged")
		case "killed":
			os.Exit(137) // as the kernel leaves it
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if given.Model == "never" && r.URL.Path == "/readyz" {
				http.Error(w, "not yet", http.StatusServiceUnavailable)
				return
			}
			if asks(r) && given.Model == "crashing" {
				os.Exit(3)
			}
			if asks(r) && given.Model == "failing" {
				http.Error(w, "it fails", http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, given.Model)
		}), nil
	}, "/predict", asks)
}

// asks reports whether a request asks the model.
func asks(r *http.Request) bool { return r.URL.Path == "/predict" }

// host answers as the container of an endpoint of SageMaker or Vertex AI, or of a service on Fargate, does.
func host(path string) error {
	s, err := step.ReadFile(path)
	if err != nil {
		return err
	}
	var given struct{ Model string }
	if err := json.Unmarshal(s.Params, &given); err != nil {
		return err
	}
	fmt.Println("it starts as", given.Model)
	if given.Model == "broken" {
		return errors.New("the model is damaged")
	}
	if on := os.Getenv(step.Platform); on != step.SageMaker && on != step.Vertex {
		return contain(s)
	}
	var printed *release.Printed
	if of := os.Getenv(release.CountedAs); of != "" {
		printed = release.NewPrinted(os.Stdout, of)
		printed.Started()
	}
	health, predict, port := "/ping", "/invocations", os.Getenv("SAGEMAKER_BIND_TO_PORT")
	if os.Getenv(step.Platform) == step.Vertex {
		health, predict, port = os.Getenv("AIP_HEALTH_ROUTE"), os.Getenv("AIP_PREDICT_ROUTE"), os.Getenv("AIP_HTTP_PORT")
	}
	http.HandleFunc("GET "+health, func(w http.ResponseWriter, _ *http.Request) {
		if given.Model == "never" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	http.HandleFunc("POST "+predict, func(w http.ResponseWriter, _ *http.Request) {
		began, status := time.Now(), http.StatusOK
		switch given.Model {
		case "crashing":
			os.Exit(3)
		case "failing":
			status = http.StatusInternalServerError
		}
		if printed != nil {
			printed.Request(status, began)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, given.Model)
	})
	server := &http.Server{Addr: ":" + port, ReadHeaderTimeout: time.Minute}
	return server.ListenAndServe()
}
