package containerd

// ContainerID is the name of a task's container.
var ContainerID = containerID
