/** What a route needs. A route that does not say it is refused to everybody: forgetting it must not open a door. */
import { SetMetadata } from '@nestjs/common';

/** `public`: nobody has to say who they are. `read` and `write`: some table; which one is checked where its name is known. */
export type Permission = 'public' | 'read' | 'write' | 'admin';

export const PERMISSION = Symbol('permission');

/** Of a method, or of all methods of a controller. */
export const Needs = (permission: Permission): MethodDecorator & ClassDecorator => SetMetadata(PERMISSION, permission);
