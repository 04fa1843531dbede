export async function testContainers() {}
