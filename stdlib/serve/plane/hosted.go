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

// hosted makes the service listen where its platform expects that, and returns the paths of the platform
// with what they mean: nil if it has none.
func hosted(s *step.Step) (map[string]string, error) {
	switch on := os.Getenv(step.Platform); {
	case on == "" || s.Endpoint == nil:
		return nil, nil
	case on != step.SageMaker:
		return nil, fmt.Errorf("$%s is %q, and the only platform with paths of its own is %q", step.Platform, on, step.SageMaker)
	}
	at := *s.Endpoint
	port, err := strconv.Atoi(cmp.Or(os.Getenv(sageMakerPort), "8080"))
	if err != nil || port < 1 || port > 65535 {
		return nil, fmt.Errorf("$%s has to be a port, not %q", sageMakerPort, os.Getenv(sageMakerPort))
	}
	at.Host, at.Port = "0.0.0.0", port
	s.Endpoint = &at
	return map[string]string{"/ping": at.Ready, "/invocations": "/predict"}, nil
}

// printed returns what prints counts of requests for whoever reads the log of the process, or nil if nobody does.
func printed(out io.Writer) *release.Printed {
	of := os.Getenv(release.CountedAs)
	if of == "" {
		return nil
	}
	return release.NewPrinted(out, of)
}
