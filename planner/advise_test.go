package planner

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

func TestAdviceIsGivenIfRequestsDifferFromUsage(t *testing.T) {
	const gibi = 1024 * mebi
	memory := func(asked, used, would int64) []Advice {
		return []Advice{{Need: "memory", Asked: asked, Used: used, Runs: 3, Would: would}}
	}
	cpu := func(asked, used, would int64) []Advice {
		return []Advice{{Need: "cpu", Asked: asked, Used: used, Runs: 2, Would: would}}
	}
	for _, c := range []struct {
		name  string
		asked ir.Resources
		used  state.Used
		want  []Advice
	}{
		{"far more memory", ir.Resources{Memory: 8 * gibi}, state.Used{Runs: 3, Memory: 300 * mebi}, memory(8*gibi, 300*mebi, 512*mebi)},
		{"twice as much", ir.Resources{Memory: 4 * gibi}, state.Used{Runs: 3, Memory: 2 * gibi}, memory(4*gibi, 2*gibi, 3*gibi)},
		{"less than twice as much", ir.Resources{Memory: 4*gibi - 1}, state.Used{Runs: 3, Memory: 2 * gibi}, nil},
		{"little in all", ir.Resources{Memory: 256 * mebi}, state.Used{Runs: 3, Memory: 16 * mebi}, nil},
		{"little, and just enough of it", ir.Resources{Memory: 272 * mebi}, state.Used{Runs: 3, Memory: 16 * mebi}, memory(272*mebi, 16*mebi, 64*mebi)},
		{"steps of a quarter", ir.Resources{Memory: 4 * gibi}, state.Used{Runs: 3, Memory: 700 * mebi}, memory(4*gibi, 700*mebi, 1280*mebi)},
		{"hardly more memory", ir.Resources{Memory: 2 * gibi}, state.Used{Runs: 3, Memory: 1946 * mebi}, memory(2*gibi, 1946*mebi, 3*gibi)},
		{"less memory than was used", ir.Resources{Memory: gibi}, state.Used{Runs: 3, Memory: 5 * gibi}, memory(gibi, 5*gibi, 8*gibi)},
		{"nine tenths of the memory", ir.Resources{Memory: 10 * gibi}, state.Used{Runs: 3, Memory: 9 * gibi}, nil},
		{"memory that is not known", ir.Resources{Memory: 8 * gibi}, state.Used{}, nil},
		{"no ask", ir.Resources{}, state.Used{Runs: 3, Memory: gibi, Long: 2, MilliCPU: 9000}, nil},
		{"far more cores", ir.Resources{MilliCPU: 8000}, state.Used{Long: 2, MilliCPU: 900}, cpu(8000, 900, 1500)},
		{"a core more than twice a half", ir.Resources{MilliCPU: 1500}, state.Used{Long: 2, MilliCPU: 500}, cpu(1500, 500, 1000)},
		{"half a core more", ir.Resources{MilliCPU: 1000}, state.Used{Long: 2, MilliCPU: 400}, nil},
		{"all cores are used", ir.Resources{MilliCPU: 4000}, state.Used{Long: 2, MilliCPU: 4100}, nil},
		{"more cores than asked for", ir.Resources{MilliCPU: 1000}, state.Used{Long: 2, MilliCPU: 3600}, cpu(1000, 3600, 4000)},
		{"no long run", ir.Resources{MilliCPU: 8000}, state.Used{Runs: 3, MilliCPU: 10}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, advice(c.asked, c.used)); diff != "" {
				t.Errorf("advice (-want +got):\n%s", diff)
			}
		})
	}
}
