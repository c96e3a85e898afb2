package host

import (
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Paths of requests. The bodies of requests and answers are JSON, except for content.
const (
	StartPath    = "/start"     // Start, Started
	FindPath     = "/find"      // Named, Started
	InspectPath  = "/inspect"   // Named, Status
	WaitPath     = "/wait"      // Named, a sequence of Moment
	LogsPath     = "/logs"      // Named, the log
	ResultPath   = "/result"    // Named, Result
	DestroyPath  = "/destroy"   // Named, nothing
	LackPath     = "/lack"      // Lacking, a list of digests of files
	RoutePath    = "/route"     // Routed, nothing
	ObservePath  = "/observe"   // Named, step.Observed or null
	ServicePath  = "/service"   // Service, Serving
	KeptPath     = "/kept"      // Keeping, Kept
	KeptFilePath = "/kept/file" // Keeping with a name, its content
	ImagePath    = "/image"     // Image, Loaded
	BlobPath     = "/blob/"     // PUT with the digest
	CollectPath  = "/collect"   // Collecting, Collected
	AutostopPath = "/autostop"  // Autostop, Stopper
	ArtifactPath = "/artifact/" // GET or PUT with the digest, see [Send]
	TreePath     = "/tree/"     // PUT with the digest of a folder of programs
	ProgramPath  = "/program/"  // PUT with the digest
)

// A Start says what to start. Paths in its task are those of the sender and have no meaning
// here; the folder of the run, the code and all inputs get paths of the host.
type Start struct {
	Run  string         `json:"run"` // names the folder of the run
	Task executors.Task `json:"task"`
	Part
	// Beside is what the other versions read for which the program answers, by name.
	Beside map[string]Part `json:"beside,omitempty"`
	Data   []Datum         `json:"data,omitempty"`
	// Files are the data files by pattern, as indices into Data.
	Files map[string][]int `json:"files,omitempty"`
	// Duck is the digest of tenon-duck if it runs the unit, or the unit starts it.
	Duck string `json:"duck,omitempty"`
	// Serve is the digest of tenon-serve if it runs the unit.
	Serve string `json:"serve,omitempty"`
	// Environments are the Python environments that the task names, by the digests of their locks.
	Environments map[string]Environment `json:"environments,omitempty"`
	// Image is the image of a container, or nil for a process.
	Image *Image `json:"image,omitempty"`
	// Former is the folder of the run that a service takes over from, or "".
	Former string `json:"former,omitempty"`
	// Claim is what the job takes from the host, which has Capacity. Amounts of Capacity that
	// are 0 are those of the machine.
	Claim    ir.Resources `json:"claim"`
	Capacity ir.Resources `json:"capacity"`
}

// An Image is an image without its layers, which go by their digests.
type Image struct {
	Digest   string `json:"digest"` // of the manifest
	Base     string `json:"base"`   // name of the image on which it is built, by digest
	Type     string `json:"type"`   // media type
	Manifest []byte `json:"manifest"`
	Config   []byte `json:"config"`
}

// Loaded says which layers have to be sent before containerd can have an image. If there are none, it
// has it.
type Loaded struct {
	Missing []string `json:"missing,omitempty"` // digests
}

// A Part is what one version of a unit reads.
type Part struct {
	Code   *artifact.Ref           `json:"code,omitempty"`
	Inputs map[string]artifact.Ref `json:"inputs,omitempty"` // by port
}

// A Datum is a data file, at a path below the common folder of all data files.
type Datum struct {
	Path string       `json:"path"`
	Ref  artifact.Ref `json:"ref"`
}

// A Routed is the route of a service that runs.
type Routed struct {
	Named
	Route step.Route `json:"route"`
}

// A Service names all versions of a service.
type Service struct {
	State       string `json:"state,omitempty"` // lineage
	Environment string `json:"environment,omitempty"`
	Unit        string `json:"unit,omitempty"`
}

// Serving says when the newest version of a service began that runs, by the clock of the host. A
// zero time is that none runs.
type Serving struct {
	Began time.Time `json:"began"`
	Now   time.Time `json:"host_now"`
}

// Keeping names a folder that a service keeps, and a file in it.
type Keeping struct {
	Service
	Folder string `json:"folder"`
	Name   string `json:"name,omitempty"`
}

// Kept are the complete files of such a folder.
type Kept struct {
	Files []KeptFile `json:"files,omitempty"`
	Now   time.Time  `json:"host_now"`
}

// A KeptFile is a file that does not change any more.
type KeptFile struct {
	Name  string    `json:"name"`
	Ended time.Time `json:"ended"` // by the clock of the host
}

// An Environment is a Python environment, see [pyenv.Portable].
type Environment struct {
	Lock        artifact.Ref `json:"lock"`
	Packages    string       `json:"packages"`              // digest of a tree
	Interpreter string       `json:"interpreter,omitempty"` // also of a tree; "": the host has to have one at Path
	Path        string       `json:"path"`                  // of the interpreter of the sender
	Name        string       `json:"name"`                  // "python3.11"
	Version     string       `json:"version"`
	Probe       string       `json:"probe"`
	Says        string       `json:"says"`
	Libc        string       `json:"libc,omitempty"`
}

// Lacking asks which files of a folder the host does not have in any folder. The folder is a
// listing, see [artifact.Listing].
type Lacking struct {
	Listing string `json:"listing"`
}

// Started answers a Start. It names what was started or says why nothing was, and is empty if nothing
// was found.
type Started struct {
	UID string `json:"uid,omitempty"` // of the start, which runs or has ended
	Unit
	// Missing are the digests of artifacts and programs that the host needs first.
	Missing []string `json:"missing,omitempty"`
	Full    string   `json:"full,omitempty"`  // what is not free now
	Never   string   `json:"never,omitempty"` // what the host does not have
	Taken   string   `json:"taken,omitempty"` // who has the address of the service
	// Stopping says that the host is going down, and starts nothing.
	Stopping string `json:"stopping,omitempty"`
}

// A Unit is what a start is of.
type Unit struct {
	Service
	Kind     ir.Kind      `json:"kind,omitempty"`
	Endpoint *ir.Endpoint `json:"endpoint,omitempty"` // as it is declared, whatever the host is
}

// Named names a start. An empty UID stands for any start of the run.
type Named struct {
	Run string `json:"run"`
	UID string `json:"uid"`
	// Follow continues a log until the job has ended.
	Follow bool `json:"follow,omitempty"`
	// Offset is how much of the progress the caller has, in bytes.
	Offset int64 `json:"offset,omitempty"`
	// Now ends a job without giving it time to end by itself.
	Now bool `json:"now,omitempty"`
}

// A Status is a status, by the clock of the host.
type Status struct {
	state.Status
	Now time.Time `json:"host_now"`
}

// A Moment of a job: more of its progress, or its last status, or why there is none.
type Moment struct {
	Progress []byte  `json:"progress,omitempty"` // as the program writes it
	Status   *Status `json:"status,omitempty"`
	Error    string  `json:"error,omitempty"`
}

// A Result is what a job left. Outputs that do not exist are missing.
type Result struct {
	Outputs map[string]artifact.Ref `json:"outputs,omitempty"` // by port
	Faults  map[string]string       `json:"faults,omitempty"`  // why an output cannot be sent, by port
	Metrics []byte                  `json:"metrics,omitempty"`
}
