package gcp_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/gcp"
)

// services are those of the fake.
func services(t *testing.T) cloudtest.Services {
	l := newLab(t)
	of := func(system, lineage string) func(*gcp.Options) {
		return func(o *gcp.Options) { o.System, o.State = system, lineage }
	}
	return cloudtest.Services{
		New: func(t *testing.T, system, lineage string) executors.Executor {
			return l.executor(t, of(system, lineage))
		},
		Doomed: func(t *testing.T, system string, at int, before bool) executors.Executor {
			e := l.executor(t, of(system, ""))
			gcp.Wrap(e, func(next http.RoundTripper) http.RoundTripper { return &mortal{next: next, at: at, before: before} })
			return e
		},
		Provision: l.provision,
		Starts: func(t *testing.T, system string, task executors.Task) ([]string, error) {
			o := l.options(t)
			o.System = system
			return l.Executions(gcp.RunName(o, task))
		},
		Left: func(system string) (names []string, err error) {
			all, err := l.Services()
			for _, name := range all {
				if strings.Contains(name, "/tenon-"+system+"-") {
					names = append(names, name)
				}
			}
			return names, err
		},
	}
}

func TestServicesKilledAtEachCall(t *testing.T) { services(t).KilledAtEachCall(t, 14) }

// Cloud Run keeps the newest revision of those that are given up: it goes with the next one.
func TestAVersionThatIsGivenUp(t *testing.T) {
	services(t).GivenUp(t, "its program ended, or was not ready 4 minutes after it had started")
}

func TestServicesOfOthersStay(t *testing.T) {
	services(t).OthersStay(t, "already has the service tenon-others-deployments-api of deployments/api of another state: choose another prefix or region")
}
