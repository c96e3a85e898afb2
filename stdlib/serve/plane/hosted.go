package plane

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// sageMakerPort is the variable with the port at which SageMaker asks, 8080 if it is not set. Source: "Use
// Your Own Inference Code with Hosting Services" of the SageMaker developer guide.
const sageMakerPort = "SAGEMAKER_BIND_TO_PORT"

// Variables with what Vertex AI asks for: a port, 8080 if it is not set, and two paths. Source: "Custom container requirements
// for inference" of Vertex AI.
const (
	vertexPort    = "AIP_HTTP_PORT"
	vertexHealth  = "AIP_HEALTH_ROUTE"
	vertexPredict = "AIP_PREDICT_ROUTE"
)

// hosted makes the service listen where its platform expects that, and returns the paths of the platform
// with what they mean: nil if it has none.
func hosted(s *step.Step) (map[string]string, error) {
	on := os.Getenv(step.Platform)
	if on == "" || s.Endpoint == nil {
		return nil, nil
	}
	at := *s.Endpoint
	at.Host = "0.0.0.0"
	var variable string
	var paths map[string]string
	switch on {
	case step.SageMaker:
		variable, paths = sageMakerPort, map[string]string{"/ping": at.Ready, "/invocations": "/predict"}
	case step.Vertex:
		variable, paths = vertexPort, map[string]string{}
		for named, own := range map[string]string{vertexHealth: at.Ready, vertexPredict: "/predict"} {
			path := os.Getenv(named)
			if path == "" || path[0] != '/' {
				return nil, fmt.Errorf("$%s has to be a path that begins with a slash, not %q", named, path)
			}
			paths[path] = own
		}
		if len(paths) < 2 {
			return nil, fmt.Errorf("$%s and $%s are both %q: choose two paths", vertexHealth, vertexPredict, os.Getenv(vertexHealth))
		}
	default:
		return nil, fmt.Errorf("$%s is %q, and the platforms with paths of their own are %q and %q", step.Platform, on, step.SageMaker, step.Vertex)
	}
	var err error
	if at.Port, err = portOf(variable); err != nil {
		return nil, err
	}
	s.Endpoint = &at
	return paths, nil
}

// portOf returns the port that a variable names, 8080 if it is not set.
func portOf(variable string) (int, error) {
	port, err := strconv.Atoi(cmp.Or(os.Getenv(variable), "8080"))
	if err != nil || port < 1 || port > 65535 {
		return 0, fmt.Errorf("$%s has to be a port, not %q", variable, os.Getenv(variable))
	}
	return port, nil
}

// printed returns what prints counts of requests for whoever reads the log of the process, or nil if nobody does.
func printed(out io.Writer) *release.Printed {
	of := os.Getenv(release.CountedAs)
	if of == "" {
		return nil
	}
	return release.NewPrinted(out, of)
}
