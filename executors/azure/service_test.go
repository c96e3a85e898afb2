package azure_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/azure"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
)

// services are those of the fake.
func services(t *testing.T) cloudtest.Services {
	l := newLab(t)
	return cloudtest.Services{
		New: func(t *testing.T, system, lineage string) executors.Executor {
			return l.executor(t, system, func(o *azure.Options) { o.State = lineage })
		},
		Doomed: func(t *testing.T, system string, at int, before bool) executors.Executor {
			return l.doomed(t, system, at, before)
		},
		Provision: l.provision,
		Starts: func(t *testing.T, system string, task executors.Task) ([]string, error) {
			return l.Executions(azure.RunName(l.options(t, system), task))
		},
		Left: func(system string) (names []string, err error) {
			all, err := l.Apps()
			for _, name := range all {
				if strings.HasPrefix(name, "tenon-"+system+"-") {
					names = append(names, name)
				}
			}
			return names, err
		},
	}
}

func TestServicesKilledAtEachCall(t *testing.T) { services(t).KilledAtEachCall(t, 16) }

func TestAVersionThatIsGivenUp(t *testing.T) {
	services(t).GivenUp(t, "its program ended, or did not answer in time")
}

func TestServicesOfOthersStay(t *testing.T) {
	services(t).OthersStay(t, "already has the app tenon-others-deployments-api of deployments/api of another state: choose another prefix or resource group")
}
