package containerd

// ContainerID returns the name of a task's container.
var ContainerID = containerID
